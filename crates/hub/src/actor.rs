//! The home core's actor: takes batches of requests, applies them in order, sends what follows.

use flume::{Receiver, Sender, TrySendError};

use crate::{
    mailbox::{CoreId, Delivery, Request},
    rooms::Rooms,
};

/// How many requests one turn applies before deliveries leave and others get the core. Enough for
/// a batch to be worth its wake, small enough to take well under a millisecond.
const REQUESTS_PER_TURN: usize = 1024;

/// Runs the rooms of one home core until every sender of `requests` is gone.
///
/// `deliveries[n]` is the mailbox of core `n`. A full one is awaited: that core is behind, and
/// the rooms of this home go at its pace until it has caught up. `turn_over` is awaited after
/// each turn that leaves requests waiting; it lets the core's other tasks run.
pub async fn run(
    mut rooms: Rooms,
    requests: Receiver<Vec<Request>>,
    deliveries: Vec<Sender<Vec<Delivery>>>,
    turn_over: impl AsyncFn(),
) {
    while let Ok(batch) = requests.recv_async().await {
        let mut batch = batch.into_iter();
        let mut left = REQUESTS_PER_TURN;
        loop {
            for request in batch.by_ref().take(left) {
                left -= 1;
                rooms.apply(request);
            }
            if left == 0 {
                send_all(&mut rooms, &deliveries).await;
                turn_over().await;
                left = REQUESTS_PER_TURN;
            } else if let Ok(more) = requests.try_recv() {
                batch = more.into_iter();
            } else {
                break;
            }
        }
        send_all(&mut rooms, &deliveries).await;
    }
}

/// Sends each core its batch; cores that have room first, so that a full one holds up nobody but
/// this home's next turn.
async fn send_all(rooms: &mut Rooms, deliveries: &[Sender<Vec<Delivery>>]) {
    let mut full = Vec::new();
    for (core, mailbox) in (0u16..).map(CoreId).zip(deliveries) {
        let batch = rooms.take_outgoing(core);
        if batch.is_empty() {
            continue;
        }
        if let Err(TrySendError::Full(batch)) = mailbox.try_send(batch) {
            full.push((mailbox, batch));
        }
    }
    for (mailbox, batch) in full {
        // An error means that the core has stopped: it has no subscribers to tell.
        let _ = mailbox.send_async(batch).await;
    }
}
