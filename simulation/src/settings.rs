//! What a run's machine is like: its character and its configuration, drawn from the seed.

use std::{sync::Arc, time::Duration};

use fastrand::Rng;
use runtime::{Config, Rate, Timeouts, simulation::tls::ServerConfig};

use crate::{
    orders::Sure,
    rules::{AMPLE_BYTES, Rules},
    script::{Budgets, ROOMS},
    world::Character,
};

/// The machine of a run.
pub struct Settings {
    /// How many cores it has.
    pub cores: usize,
    /// How it behaves where it is free to.
    pub character: Character,
    mailbox_batches: usize,
    receive_buffer_bytes: usize,
    send_queue_bytes_max: usize,
    publish_window_bytes: usize,
    outbox_bytes_max: usize,
    rooms_max: usize,
    position: Duration,
    history_bytes_max: usize,
    positions_max: usize,
    recovered_messages_max: usize,
    recovered_bytes_max: usize,
    /// Whether it has TLS, as a quarter of all machines.
    pub has_tls: bool,
    /// What all of this was drawn from.
    pub seed: u64,
}

/// The longest message of a peer, in bytes.
pub const MESSAGE_BYTES_MAX: usize = 4 << 10;

impl Settings {
    /// The machine of a seed.
    pub fn of(seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed ^ 0x5E77_1265);
        let one_of = |rng: &mut Rng, all: &[usize]| all[rng.usize(0..all.len())];
        Self {
            cores: rng.usize(1..=3),
            character: Character {
                shuffles_tasks: rng.u8(0..3) == 0,
                look_ns: one_of(&mut rng, &[100, 2_000, 50_000]) as u64,
                step_ns: one_of(&mut rng, &[1_000, 20_000]) as u64,
                report_ns: one_of(&mut rng, &[0, 10_000, 2_000_000]) as u64,
                timer_ns: one_of(&mut rng, &[0, 1_000_000]) as u64,
                idle_reports: one_of(&mut rng, &[0, 4, 50]) as u32,
            },
            mailbox_batches: one_of(&mut rng, &[1, 1, 2, 64]),
            receive_buffer_bytes: one_of(&mut rng, &[512, 4 << 10, 64 << 10]),
            send_queue_bytes_max: one_of(&mut rng, &[2 << 10, 20 << 10, 1 << 20]),
            publish_window_bytes: one_of(&mut rng, &[300, 4 << 10, 64 << 10]),
            outbox_bytes_max: one_of(&mut rng, &[300, 8 << 10, 4 << 20]),
            rooms_max: one_of(&mut rng, &[2, 50, 1_000, 1_000]),
            position: Duration::from_millis(one_of(&mut rng, &[0, 3_000]) as u64),
            has_tls: rng.u8(0..4) == 0,
            history_bytes_max: one_of(&mut rng, &[2_000, 20_000, 1 << 20]),
            positions_max: one_of(&mut rng, &[0, 1, 1_000]),
            recovered_messages_max: one_of(&mut rng, &[3, 300]),
            recovered_bytes_max: one_of(&mut rng, &[500, AMPLE_BYTES]),
            seed,
        }
    }

    /// What is certain of recoveries under these rules, which no others follow.
    pub fn sure(&self, rules: &Rules) -> Sure {
        let messages = self.recovered_messages_max as u64;
        Sure {
            kept: std::array::from_fn(|room| rules.surely_kept(room as u8)),
            answered: (self.recovered_bytes_max >= AMPLE_BYTES).then_some(messages),
            forgotten: Default::default(),
            has_memory: self.history_bytes_max >= AMPLE_BYTES * usize::from(ROOMS),
        }
    }

    /// The configuration with these budgets.
    pub fn config(&self, budgets: Budgets) -> Config {
        let share = match budgets {
            Budgets::Ample => 64 << 20,
            Budgets::Tight => 64 << 10,
            Budgets::Tiny => 6 << 10,
        };
        let limits = codec::Limits {
            message_bytes_max: MESSAGE_BYTES_MAX,
            head_bytes_max: 512,
            body_bytes_max: 4 << 10,
            ..codec::Limits::default()
        };
        Config {
            cores: self.cores,
            limits,
            message_rate: Rate::new(20, 40).filter(|_| self.seed.is_multiple_of(9)),
            control_rate: Rate::new(2, 5).filter(|_| self.seed % 9 == 1),
            connections_max: Some(if self.seed.is_multiple_of(7) {
                5
            } else {
                1_000
            }),
            rooms_max: self.rooms_max,
            history_bytes_max: self.history_bytes_max * self.cores,
            positions_max: self.positions_max * self.cores,
            recovered_messages_max: self.recovered_messages_max,
            recovered_bytes_max: self.recovered_bytes_max,
            commands_max: 4,
            desk_requests_max: 4,
            send_queue_bytes_max: self.send_queue_bytes_max,
            send_queues_bytes_max: share * self.cores,
            unfinished_bytes_max: share * self.cores,
            publish_window_bytes: self.publish_window_bytes,
            outbox_bytes_max: self.outbox_bytes_max,
            mailbox_batches: self.mailbox_batches,
            receive_buffer_bytes: self.receive_buffer_bytes,
            tls: self.has_tls.then(|| Arc::new(ServerConfig)),
            timeouts: Timeouts {
                handshake: Duration::from_secs(4),
                tls_handshake: Duration::from_secs(3),
                ping_interval: Duration::from_secs(5),
                pong: Duration::from_secs(4),
                close: Duration::from_secs(2),
                write: Duration::from_secs(4),
                message: Duration::from_secs(4),
                pause: Duration::from_secs(6),
                drain_delay: Duration::from_millis(200),
                drain: Duration::from_secs(3),
                room_idle: Duration::from_secs(3),
                position: self.position,
                connection_age: (self.seed.is_multiple_of(11)).then_some(Duration::from_secs(20)),
                ..Timeouts::default()
            },
            ..Config::default()
        }
    }
}
