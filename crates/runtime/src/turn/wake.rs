//! A flag that one task of the same thread awaits.

use std::{
    cell::{Cell, RefCell},
    future::poll_fn,
    task::{Context, Poll, Waker},
};

/// Raised by anyone on this thread, awaited by one task. Raising it twice is raising it once.
#[derive(Debug, Default)]
pub(crate) struct Wake {
    raised: Cell<bool>,
    waiting: RefCell<Option<Waker>>,
}

impl Wake {
    /// Raises the flag and wakes who waits.
    pub(crate) fn raise(&self) {
        self.raised.set(true);
        if let Some(waker) = self.waiting.take() {
            waker.wake();
        }
    }

    /// Lowers the flag, for one who has done what it was raised for.
    pub(crate) fn lower(&self) {
        self.raised.set(false);
    }

    /// Waits until the flag is raised, and lowers it.
    pub(crate) async fn wait(&self) {
        poll_fn(|context| self.poll(context)).await;
    }

    /// Whether it is raised, and lowers it.
    #[cfg(test)]
    pub(crate) fn take(&self) -> bool {
        self.raised.replace(false)
    }

    fn poll(&self, context: &Context<'_>) -> Poll<()> {
        if self.raised.replace(false) {
            return Poll::Ready(());
        }
        self.waiting.replace(Some(context.waker().clone()));
        Poll::Pending
    }
}
