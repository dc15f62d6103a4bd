//! Changing the configuration of a running server: bounds at once, the rest through each core's mailbox.

use std::sync::Arc;

use flume::Sender;
use hub::RoomBudget;

use super::{Control, tell};
use crate::{admission::Admission, config::Config, connection::Application};

/// Gives a running server another configuration, from any thread.
#[derive(Clone)]
pub struct Configurer {
    pub(crate) controls: Vec<Sender<Control>>,
    pub(crate) admission: Arc<Admission>,
    pub(crate) rooms: Arc<RoomBudget>,
    /// How many connections there were descriptors for at start.
    pub(crate) connections_possible: usize,
}

impl Configurer {
    /// Goes on with this configuration and application, whose sessions new connections get. Each
    /// core takes it when it next looks into its mailbox, and connections that are open obey it
    /// too. What a [`Config`] calls *at start* has no effect.
    pub fn configure(&self, config: Config, application: Arc<dyn Application>) {
        self.admission
            .open(config.connections_max, self.connections_possible);
        self.rooms.allow(config.rooms_max);
        let config = Arc::new(config);
        tell(&self.controls, || {
            Control::Configure(config.clone(), application.clone())
        });
    }
}
