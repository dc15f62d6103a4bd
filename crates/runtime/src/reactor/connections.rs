//! The connections of one core, by key.

use slab::Slab;

use crate::{connection::Connection, ids::ConnectionKey};

/// All connections of a core. A key that was used is never used again.
#[derive(Default)]
pub(crate) struct Connections {
    slots: Slab<Connection>,
    serial: u64,
}

impl Connections {
    /// Adds the connection that `make` makes for its key.
    pub(crate) fn insert(
        &mut self,
        make: impl FnOnce(ConnectionKey) -> Connection,
    ) -> ConnectionKey {
        self.serial += 1;
        let slot = self.slots.vacant_entry();
        let key = ConnectionKey::new(self.serial, slot.key());
        slot.insert(make(key));
        key
    }

    /// Whether there is a slot for another.
    pub(crate) fn has_free_slot(&self) -> bool {
        self.slots.len() < ConnectionKey::SLOTS_MAX
    }

    pub(crate) fn get(&self, key: ConnectionKey) -> Option<&Connection> {
        self.slots.get(key.slot()).filter(|it| it.key == key)
    }

    pub(crate) fn get_mut(&mut self, key: ConnectionKey) -> Option<&mut Connection> {
        self.slots.get_mut(key.slot()).filter(|it| it.key == key)
    }

    pub(crate) fn remove(&mut self, key: ConnectionKey) -> Option<Connection> {
        self.get(key)?;
        self.slots.try_remove(key.slot())
    }

    pub(crate) fn len(&self) -> usize {
        self.slots.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// All of them, in the order of their slots.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Connection> {
        self.slots.iter().map(|(_, connection)| connection)
    }

    /// All their keys.
    pub(crate) fn keys(&self) -> Vec<ConnectionKey> {
        self.iter().map(|connection| connection.key).collect()
    }

    /// How many slots there are, those included in which no connection lies.
    pub(crate) fn slots(&self) -> usize {
        self.slots.capacity()
    }

    /// The connection in a slot.
    pub(crate) fn in_slot(&mut self, slot: usize) -> Option<&mut Connection> {
        self.slots.get_mut(slot)
    }
}
