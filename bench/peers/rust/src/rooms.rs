//! Rooms: a list of bounded queues per name, filled under one lock, so that all see one order.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::mpsc;

type Subscribers<M> = Mutex<Vec<mpsc::Sender<M>>>;
type Names<M> = HashMap<String, Arc<Subscribers<M>>>;

/// All rooms of a server, shared by its threads.
pub struct Rooms<M>(Arc<Mutex<Names<M>>>);

impl<M> Default for Rooms<M> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<M> Clone for Rooms<M> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<M: Clone> Rooms<M> {
    /// Adds a queue to the room `name`; dropping the membership takes it out again.
    pub fn join(&self, name: String, queue: mpsc::Sender<M>) -> Membership<M> {
        let mut names = lock(&self.0);
        let room = Arc::clone(names.entry(name.clone()).or_default());
        lock(&room).push(queue.clone());
        Membership {
            rooms: self.clone(),
            name,
            room,
            queue: queue.downgrade(),
        }
    }
}

/// One connection's place in its room.
pub struct Membership<M> {
    rooms: Rooms<M>,
    name: String,
    room: Arc<Subscribers<M>>,
    /// The handle is weak, because the queue of a lagging subscriber must end once it is off the
    /// list.
    queue: mpsc::WeakSender<M>,
}

impl<M: Clone> Membership<M> {
    /// Queues a message for every subscriber; a full queue means that its owner is dropped.
    pub fn publish(&self, message: &M) {
        lock(&self.room).retain(|queue| queue.try_send(message.clone()).is_ok());
    }

    /// Queues a message for this subscriber alone; returns false if it has left the room.
    pub fn reply(&self, message: M) -> bool {
        self.queue
            .upgrade()
            .is_some_and(|queue| queue.try_send(message).is_ok())
    }
}

impl<M> Drop for Membership<M> {
    fn drop(&mut self) {
        let mut names = lock(&self.rooms.0);
        let mut subscribers = lock(&self.room);
        if let Some(queue) = self.queue.upgrade()
            && let Some(at) = subscribers.iter().position(|it| it.same_channel(&queue))
        {
            subscribers.swap_remove(at);
        }
        if subscribers.is_empty() {
            names.remove(&self.name);
        }
    }
}

/// A panic elsewhere leaves these lists consistent, so a poisoned lock can be used.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
