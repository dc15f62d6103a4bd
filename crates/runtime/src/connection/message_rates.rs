//! How often the peer of an open connection may send messages, and control frames that ask for answers.

use codec::Event;

use crate::{admission::Bucket, config::Config, end::EndReason};

/// What a connection may still send now, as far as that is bounded.
#[derive(Default)]
pub(crate) struct MessageRates {
    messages: Bucket,
    /// Pings and pongs. A close frame is the only one of its connection.
    controls: Bucket,
}

impl MessageRates {
    /// Counts what the peer has sent; the reason to close if that was too much.
    pub(crate) fn take(
        &mut self,
        event: &Event<'_>,
        config: &Config,
        now_ns: u64,
    ) -> Option<EndReason> {
        let (bucket, rate, reason) = match event {
            Event::Message(_) => (
                &mut self.messages,
                config.message_rate,
                EndReason::MessageRate,
            ),
            Event::Ping(_) | Event::Pong(_) => (
                &mut self.controls,
                config.control_rate,
                EndReason::ControlRate,
            ),
            Event::Request(_) | Event::Body(_) | Event::Close(_) | Event::Failed(_) => return None,
        };
        (!bucket.allows(rate, now_ns)).then_some(reason)
    }
}
