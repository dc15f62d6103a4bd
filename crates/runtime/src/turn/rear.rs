//! A way for one task to run behind all others that are ready, without a turn of the driver.
//!
//! A task that another one wakes goes to the end of the scheduler's queue. So whoever is woken by a helper,
//! which it has woken itself, runs behind every task that was ready by then and behind those that they have
//! woken first.

use super::Wake;

/// One per core, for one task.
#[derive(Debug, Default)]
pub(crate) struct Rear {
    wanted: Wake,
    reached: Wake,
}

impl Rear {
    /// Waits until the tasks that are ready have run, and those that they have woken.
    pub(crate) async fn reach(&self) {
        self.wanted.raise();
        self.reached.wait().await;
    }

    /// The helper; runs as a task of its own for as long as the core.
    pub(crate) async fn run(&self) {
        loop {
            self.wanted.wait().await;
            self.reached.raise();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{cell::Cell, rc::Rc};

    use super::*;
    use crate::fixture::on_each_driver;

    /// A request to a home of this core is ordered and delivered before whoever has sent it goes on.
    #[test]
    fn chain_of_two_tasks_that_was_woken_before_has_run() {
        on_each_driver(async |_| {
            let rear = Rc::new(Rear::default());
            let helper = rear.clone();
            monoio::spawn(async move { helper.run().await });
            let (request, requests) = flume::bounded(1);
            let (delivery, deliveries) = flume::bounded(1);
            let delivered = Rc::new(Cell::new(0));
            let count = delivered.clone();
            monoio::spawn(async move {
                while let Ok(number) = requests.recv_async().await {
                    delivery.try_send(number).unwrap();
                }
            });
            monoio::spawn(async move {
                while let Ok(number) = deliveries.recv_async().await {
                    count.set(number);
                }
            });
            // All of them wait for each other by now.
            rear.reach().await;
            rear.reach().await;
            for number in 1..=100 {
                request.try_send(number).unwrap();
                assert_eq!(delivered.get(), number - 1);
                rear.reach().await;
                assert_eq!(delivered.get(), number);
            }
        });
    }
}
