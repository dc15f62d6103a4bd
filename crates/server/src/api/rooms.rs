//! Asks homes of rooms on behalf of calls, no more at a time than leaves others their places.

use bytes::Bytes;
use codec::Kind;
use flume::Receiver;
use hub::{Answer, Details, Listing, Position, Question, RoomName};
use runtime::{Desk, DeskFull};
use std::sync::Arc;
use tokio::sync::Semaphore;

use super::failure::Failure;
use crate::world::Live;

/// The way to the homes of rooms. Calls wait for their turn here, in order, so that a burst of them is slower and not
/// refused.
pub(super) struct Rooms {
    live: Arc<Live>,
    turns: Semaphore,
}

impl Rooms {
    /// The way for calls of which so many may be under way at once.
    pub(super) fn new(live: Arc<Live>, turns: usize) -> Self {
        let turns = Semaphore::new(turns);
        Self { live, turns }
    }

    /// Publishes a message; returns once it has its place in the room.
    pub(super) async fn publish(
        &self,
        room: RoomName,
        message: (Kind, Bytes),
        details: Arc<Details>,
    ) -> Result<Position, Failure> {
        self.publish_if(|| Ok(()), room, message, details).await
    }

    /// The same, if this says so once it is the call's turn: whoever gives up before has changed nothing.
    pub(super) async fn publish_if(
        &self,
        may_be: impl FnOnce() -> Result<(), Failure>,
        room: RoomName,
        (kind, payload): (Kind, Bytes),
        details: Arc<Details>,
    ) -> Result<Position, Failure> {
        let ask = |desk: &Desk| {
            may_be()?;
            Ok(desk.publish(room, kind, payload, Some(details))?)
        };
        self.ask(ask).await?.map_err(Failure::from)
    }

    /// Asks about a room, or has it do something.
    pub(super) async fn answer(
        &self,
        room: RoomName,
        question: Question,
    ) -> Result<Answer, Failure> {
        match self.ask(|desk| Ok(desk.ask(room, question)?)).await? {
            Answer::Refused(refusal) => Err(refusal.into()),
            answer => Ok(answer),
        }
    }

    /// Lists rooms of a core.
    pub(super) async fn list(&self, core: usize, from: u32) -> Result<Listing, Failure> {
        self.ask(|desk| Ok(desk.list(core, from)?)).await
    }

    /// How many cores there are.
    pub(super) fn cores(&self) -> usize {
        self.live.desk().map_or(0, Desk::cores)
    }

    async fn ask<T>(
        &self,
        ask: impl FnOnce(&Desk) -> Result<Receiver<T>, Failure>,
    ) -> Result<T, Failure> {
        let _turn = self.turns.acquire().await.map_err(|_| Failure::INTERNAL)?;
        let desk = self.live.desk().ok_or(Failure::INTERNAL)?;
        let answer = ask(desk)?;
        // Whoever would answer has ended: so does the server.
        answer.recv_async().await.map_err(|_| Failure::INTERNAL)
    }
}

impl From<DeskFull> for Failure {
    fn from(_: DeskFull) -> Self {
        Self::FULL
    }
}

#[cfg(test)]
mod tests {
    use std::{
        future::Future as _,
        pin::pin,
        task::{Context, Waker},
    };

    use clap::Parser as _;

    use super::*;
    use crate::{hooks::Hooks, settings::Settings, tokens::Tokens, wiring};

    #[test]
    fn publication_that_is_given_up_before_its_turn_has_changed_nothing() {
        let settings = Settings::parse_from(["hubbub"]);
        let world = wiring::world(&settings, Tokens::default(), Hooks::default());
        let rooms = Rooms::new(Live::new(world), 0);
        let (room, message) = (RoomName::new("a").unwrap(), (Kind::Text, Bytes::new()));
        let may_be = || panic!("it has no turn yet");
        let published = rooms.publish_if(may_be, room, message, Arc::default());
        assert!(
            pin!(published)
                .poll(&mut Context::from_waker(Waker::noop()))
                .is_pending()
        );
    }
}
