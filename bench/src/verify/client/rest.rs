//! Coming to rest: everybody comes back, everything is answered, and then who is said to be in each room.

use super::super::history::What;
use super::connection::{Client, State};
use super::swarm::Swarm;
use anyhow::{Result, ensure};
use std::time::{Duration, Instant};

/// Within this everybody must have come back, and everything been answered.
const REST: Duration = Duration::from_secs(60);
/// So long nothing new must arrive.
const SILENCE: Duration = Duration::from_secs(1);
/// After so long a silence nothing is on its way any more, also to clients that have not everything.
const DEAD_SILENCE: Duration = Duration::from_secs(12);
/// A server may take this long to notice that a connection was cut.
const NOTICE: Duration = Duration::from_secs(10);

impl Swarm<'_> {
    /// Waits until nothing is under way, and asks who is in each room.
    pub(super) fn rest(&mut self) -> Result<()> {
        let since = Instant::now();
        for client in &mut self.clients {
            match &mut client.state {
                State::Away(until) => *until = since,
                State::Here(connection) => {
                    let stalled = connection.stalled_until.as_mut();
                    stalled.into_iter().for_each(|until| *until = since);
                }
            }
        }
        while !self.is_at_rest() {
            ensure!(since.elapsed() < REST, "{}", self.unrest());
            self.hurry(since);
            self.step()?;
        }
        self.desk.note(0, What::Quiet)?;
        for room in 0..self.plan.rooms {
            self.ask_presence(room)?;
        }
        Ok(())
    }

    /// Why there is no rest, in words.
    fn unrest(&self) -> String {
        let restless = self.clients.iter().filter(|it| !it.is_settled()).count();
        let silence = self.desk.noted_at.elapsed();
        let lack = match self.desk.history.checker.is_level() {
            true => "everybody has everything",
            false => "somebody lacks messages",
        };
        format!(
            "after {REST:?} of rest {restless} clients are not back, or not answered; {lack}; nothing new for \
             {silence:.1?}"
        )
    }

    /// Heartbeats are no news: those of hundreds of clients come at any time.
    fn is_at_rest(&self) -> bool {
        let silence = self.desk.noted_at.elapsed();
        let is_silent = match self.desk.history.checker.is_level() {
            true => silence > SILENCE,
            false => silence > DEAD_SILENCE,
        };
        is_silent && self.clients.iter().all(Client::is_settled)
    }

    /// Whoever was ended meanwhile comes back at once.
    fn hurry(&mut self, since: Instant) {
        for client in &mut self.clients {
            if let State::Away(until) = &mut client.state {
                *until = (*until).min(since + Duration::from_millis(500));
            }
        }
    }

    /// Asks until the answer is right, or a cut connection must have been noticed.
    fn ask_presence(&mut self, room: u32) -> Result<()> {
        let since = Instant::now();
        loop {
            let Some(present) = self.presence_of(room)? else {
                return Ok(());
            };
            let wrong = self.desk.history.checker.wrong_presence(room, &present);
            if wrong.is_none() || since.elapsed() > NOTICE {
                return self.desk.note(0, What::Present { room, ids: present });
            }
            let asked = Instant::now();
            while asked.elapsed() < Duration::from_millis(200) {
                self.step()?;
            }
        }
    }

    /// Who is in a room; `None` if the server does not tell, or nobody can ask.
    fn presence_of(&mut self, room: u32) -> Result<Option<Vec<Box<str>>>> {
        let names = self.desk.names.clone();
        let mut could = false;
        for client in &mut self.clients {
            could = client.ask_presence(room, &names)?;
            if could {
                break;
            }
        }
        let since = Instant::now();
        while could && since.elapsed() < NOTICE {
            self.step()?;
            if let Some((_, present)) = self.desk.present.pop() {
                return Ok(present);
            }
        }
        ensure!(!could, "nobody says who is in room {room}");
        Ok(None)
    }
}
