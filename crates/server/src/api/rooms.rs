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
        (kind, payload): (Kind, Bytes),
        details: Arc<Details>,
    ) -> Result<Position, Failure> {
        let published = self
            .ask(|desk| desk.publish(room, kind, payload, Some(details)))
            .await?;
        published.map_err(Failure::from)
    }

    /// Asks about a room, or has it do something.
    pub(super) async fn answer(
        &self,
        room: RoomName,
        question: Question,
    ) -> Result<Answer, Failure> {
        match self.ask(|desk| desk.ask(room, question)).await? {
            Answer::Refused(refusal) => Err(refusal.into()),
            answer => Ok(answer),
        }
    }

    /// Lists rooms of a core.
    pub(super) async fn list(&self, core: usize, from: u32) -> Result<Listing, Failure> {
        self.ask(|desk| desk.list(core, from)).await
    }

    /// How many cores there are.
    pub(super) fn cores(&self) -> usize {
        self.live.desk().map_or(0, Desk::cores)
    }

    async fn ask<T>(
        &self,
        ask: impl FnOnce(&Desk) -> Result<Receiver<T>, DeskFull>,
    ) -> Result<T, Failure> {
        let _turn = self.turns.acquire().await.map_err(|_| Failure::INTERNAL)?;
        let desk = self.live.desk().ok_or(Failure::INTERNAL)?;
        let answer = ask(desk).map_err(|DeskFull| Failure::FULL)?;
        // Whoever would answer has ended: so does the server.
        answer.recv_async().await.map_err(|_| Failure::INTERNAL)
    }
}
