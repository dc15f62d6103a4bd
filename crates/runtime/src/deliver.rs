//! Deliveries: takes what homes send to this core, into the rooms' logs and to waiting joins.
//!
//! Waits for the mailbox, and for the core's own flusher, which waits for nobody: a core that goes on
//! taking its deliveries is what keeps the waiting between cores free of circles.

use std::rc::Rc;

use flume::Receiver;
use hub::{ConnectionId, Delivery, Publication, Request, RoomId};

use crate::{
    connection::{Stage, Wait},
    core::{Core, State, key_of},
    encoder::WireForm,
    end::EndReason,
    session::{kind_of, publication_bytes},
};

/// How much is taken before the flusher has it: far below what a subscriber may lag behind, so that
/// one who keeps up is never found too far behind for a burst's sake, and so little that compressing
/// it keeps nobody waiting. While the flusher works through its list as much again may come.
const UNFLUSHED_BYTES_MAX: usize = 256 << 10;

/// Takes deliveries for as long as the core runs.
pub(crate) async fn run(core: Rc<Core>, deliveries: Receiver<Vec<Delivery>>) {
    while let Ok(batch) = deliveries.recv_async().await {
        core.state.borrow_mut().tally.deliveries.count(batch.len());
        let mut batch = batch.into_iter();
        while core.deliver(&mut batch) == Delivered::AsMuchAsMayWait {
            // The flusher waits for nobody either, so this is no circle.
            core.flush_begun.wait().await;
            core.turnstile.pass().await;
        }
    }
}

/// How far a batch was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Delivered {
    All,
    /// The rest must wait until the flusher has had what was taken.
    AsMuchAsMayWait,
}

impl Core {
    fn deliver(&self, batch: &mut std::vec::IntoIter<Delivery>) -> Delivered {
        let mut state = self.state.borrow_mut();
        state.need_turn();
        let now_ns = state.shared.now_ns();
        while state.unflushed_bytes < UNFLUSHED_BYTES_MAX {
            let Some(delivery) = batch.next() else {
                return Delivered::All;
            };
            let bytes = match &delivery {
                Delivery::Message { publication, .. } => publication.payload.len(),
                _ => 0,
            };
            state.unflushed_bytes += publication_bytes(bytes);
            state.deliver(delivery, now_ns);
        }
        match batch.as_slice() {
            [] => Delivered::All,
            _ => Delivered::AsMuchAsMayWait,
        }
    }
}

impl State {
    fn deliver(&mut self, delivery: Delivery, now_ns: u64) {
        match delivery {
            Delivery::Joined {
                subscriber, room, ..
            } => self.joined(subscriber, room),
            Delivery::Refused { subscriber, .. } => {
                self.close(key_of(subscriber), EndReason::JoinRefused);
            }
            Delivery::Message {
                room,
                publisher,
                publication,
                ..
            } => {
                self.append(room, &publication);
                if publisher.core == self.id {
                    let took_ns = now_ns.saturating_sub(publication.stamp);
                    self.tally.publish.record(took_ns);
                    self.taken(publisher, publication.payload.len());
                }
            }
            Delivery::Unpublished { publisher } => {
                self.close(key_of(publisher), EndReason::RoomGone);
            }
        }
    }

    /// A join was ordered: what the room is told from here on reaches the subscriber. One that
    /// has gone meanwhile leaves again.
    fn joined(&mut self, subscriber: ConnectionId, room: RoomId) {
        let key = key_of(subscriber);
        match self.connections.get_mut(key) {
            Some(connection) if matches!(connection.stage, Stage::Joining { .. }) => {
                let form = connection.form;
                let subscription = self.shards.subscribe(room, form, key);
                connection.subscriptions.push(subscription);
                self.open(key);
            }
            _ => {
                let core = self.id;
                self.outboxes.push(Request::Leave { room, core });
            }
        }
    }

    /// Encodes a message once, for all subscribers on this core that take the same form.
    fn append(&mut self, room: RoomId, publication: &Publication) {
        let kind = kind_of(publication.tag);
        let recipients = self.shards.append(room, |form, log| {
            let encoded = self.encoder.encode(form, kind, &publication.payload);
            log.append(encoded.parts());
            // Compressing takes longer than all else: for each window it counts once more.
            if form != WireForm::Plain {
                self.unflushed_bytes += publication.payload.len();
            }
        });
        self.unsent.push(publication.stamp);
        let tally = &mut self.tally;
        tally.delivered += recipients as u64;
        tally.recipients.record(recipients);
        tally.sent(kind, publication.payload.len(), recipients as u64);
    }

    /// One of this core's connections learns that its room has taken a publication.
    fn taken(&mut self, publisher: ConnectionId, payload_bytes: usize) {
        let window_bytes_max = self.shared.config.publish_window_bytes;
        let Some(connection) = self.connections.get_mut(key_of(publisher)) else {
            return;
        };
        let bytes = publication_bytes(payload_bytes);
        connection.window_bytes = connection.window_bytes.saturating_sub(bytes);
        let waits = connection.pause.is_some_and(|p| p.wait == Wait::Window);
        if waits && connection.window_bytes < window_bytes_max {
            connection.attention.raise();
        }
        if let Stage::Finishing { last, .. } = connection.stage
            && connection.window_bytes == 0
            && let Some(reason) = connection.end
        {
            self.finish_now(key_of(publisher), last, reason);
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use codec::Kind;
    use hub::{CoreId, RoomId};
    use slotmap::Key;

    use super::*;
    use crate::{connection::ConnectionKey, fixture::on_each_driver, session::tag_of};

    fn message() -> Delivery {
        let home = CoreId(1);
        Delivery::Message {
            room: RoomId { home, token: 1 },
            number: 1,
            publisher: ConnectionId {
                core: home,
                token: 1,
            },
            publication: Publication {
                tag: tag_of(Kind::Binary),
                stamp: 0,
                payload: Bytes::from(vec![0; 1 << 10]),
            },
        }
    }

    #[test]
    fn deliveries_wait_until_the_flusher_has_those_before() {
        on_each_driver(async |core| {
            let (mailbox, deliveries) = flume::unbounded();
            monoio::spawn(run(core.clone(), deliveries));
            for _ in 0..100 {
                mailbox.send((0..10).map(|_| message()).collect()).unwrap();
            }
            let mut taken = 0;
            while taken < 1000 {
                // Time enough for all of them, if nothing held them.
                for _ in 0..300 {
                    core.turnstile.pass().await;
                }
                let mut state = core.state.borrow_mut();
                let unflushed = state.unflushed_bytes;
                assert!(unflushed > 0, "it goes on when the flusher has begun");
                assert!(unflushed < UNFLUSHED_BYTES_MAX + (2 << 10), "{unflushed}");
                taken += state.unsent.len();
                state.take_turn();
                core.flush_begun.raise();
            }
            assert_eq!(taken, 1000);
        });
    }

    #[test]
    fn delivery_counts_once_more_for_each_window_it_is_compressed_for() {
        on_each_driver(async |core| {
            let state = &mut *core.state.borrow_mut();
            let Delivery::Message { room, .. } = message() else {
                unreachable!("it is one")
            };
            let nobody = ConnectionKey::null();
            for (window_bits, expected) in [(None, 0), (Some(9), 1 << 10), (Some(15), 2 << 10)] {
                let form = window_bits.map_or(WireForm::Plain, |window_bits| WireForm::Deflate {
                    window_bits,
                });
                state.shards.subscribe(room, form, nobody);
                state.unflushed_bytes = 0;
                state.deliver(message(), 0);
                assert_eq!(state.unflushed_bytes, expected);
            }
        });
    }
}
