//! The home core's actor: receives batches of requests, applies them in order, sends the
//! deliveries.

use std::{cell::RefCell, rc::Rc};

use flume::{Receiver, Sender, TrySendError};

use crate::{
    bound::bound,
    mailbox::{CoreId, Delivery, Request},
    rooms::Rooms,
};

/// Most requests that one turn applies before deliveries are sent and other tasks get the core.
/// They are enough to make a wake worthwhile, and few enough to take well under a millisecond.
const REQUESTS_PER_TURN: usize = bound(1024, 5);

/// Runs the rooms of one home core until every sender of `requests` is gone. They are borrowed while it does
/// something and not while it waits, so that others on its thread can look at them meanwhile.
///
/// `deliveries[n]` is the mailbox of core `n`. The actor waits for a full one: that core is behind,
/// and all rooms of this home slow down to its pace until it has caught up. `turn_over` is awaited
/// after each turn that leaves work to do; it lets the core's other tasks run.
pub async fn run(
    rooms: Rc<RefCell<Rooms>>,
    requests: Receiver<Vec<Request>>,
    deliveries: Vec<Sender<Vec<Delivery>>>,
    turn_over: impl AsyncFn(),
) {
    let mut batch = Vec::new().into_iter();
    loop {
        let requests_are_left = apply_some(&mut rooms.borrow_mut(), &mut batch, &requests);
        let publications_are_left = rooms.borrow_mut().order_released();
        send_all(&rooms, &deliveries).await;
        if requests_are_left || publications_are_left {
            turn_over().await;
        } else if let Ok(next) = requests.recv_async().await {
            batch = next.into_iter();
        } else {
            return;
        }
    }
}

/// Applies the rest of `batch` and the batches behind it, at most [`REQUESTS_PER_TURN`] requests.
/// Returns whether more may be left.
fn apply_some(
    rooms: &mut Rooms,
    batch: &mut std::vec::IntoIter<Request>,
    requests: &Receiver<Vec<Request>>,
) -> bool {
    let mut left = REQUESTS_PER_TURN;
    while left > 0 {
        if let Some(request) = batch.next() {
            rooms.apply(request);
            left -= 1;
        } else if let Ok(next) = requests.try_recv() {
            *batch = next.into_iter();
        } else {
            return false;
        }
    }
    true
}

/// Sends each core its batch. Cores with room in their mailbox come first, so that a full one
/// delays only the next turn of this home.
async fn send_all(rooms: &RefCell<Rooms>, deliveries: &[Sender<Vec<Delivery>>]) {
    let mut full = Vec::new();
    for (core, mailbox) in (0u16..).map(CoreId).zip(deliveries) {
        let batch = rooms.borrow_mut().take_outgoing(core);
        if batch.is_empty() {
            continue;
        }
        if let Err(TrySendError::Full(batch)) = mailbox.try_send(batch) {
            full.push((mailbox, batch));
        }
    }
    for (mailbox, batch) in full {
        // An error means that the core has stopped, and then it has no subscribers to deliver to.
        let _ = mailbox.send_async(batch).await;
    }
}
