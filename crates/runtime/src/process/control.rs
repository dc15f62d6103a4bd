//! What a core can be told, and telling it.

use std::sync::Arc;

use flume::Sender;

use crate::{
    config::Config,
    connection::Application,
    reactor::{Question, Urgency},
};

/// What a core is told.
pub(crate) enum Control {
    /// Accept connections.
    Open,
    /// Go on with these.
    Configure(Arc<Config>, Arc<dyn Application>),
    /// After the drain's delay accept no more, and close everyone.
    Drain(Urgency),
    /// Answer a question.
    Answer(Question),
    /// End.
    Stop,
}

/// Tells all cores.
pub(crate) fn tell(cores: &[Sender<Control>], control: impl Fn() -> Control) {
    for core in cores {
        // An error means that the core has ended, which it reports itself.
        let _ = core.send(control());
    }
}
