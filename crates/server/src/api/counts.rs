//! What is counted of the API, for the metrics: calls by method, errors by code, refusals by reason.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use runtime::Timing;
use strum::VariantArray as _;

use super::{
    Shared,
    failure::Failure,
    methods::METHODS,
    refused::{Reason, Refused},
};

/// The counters.
pub(super) struct Counts {
    /// Of each method: calls that went well, and those that failed.
    calls: Vec<[AtomicU64; 2]>,
    errors: [AtomicU64; Failure::CODES.len()],
    refused: Vec<AtomicU64>,
    timing: Mutex<Timing>,
}

/// A copy of them, and how the API stands.
#[derive(Default)]
pub struct Counted {
    /// Calls by method and outcome.
    pub calls: Vec<(&'static str, [u64; 2])>,
    /// Errors by code.
    pub errors: Vec<(u16, u64)>,
    /// Requests that were no calls, by reason.
    pub refused: Vec<(&'static str, u64)>,
    /// From a request's head to its answer.
    pub timing: Timing,
    /// Connections.
    pub connections: usize,
    /// Connections that were ended to make room for others.
    pub crowded_out: u64,
    /// Bytes of bodies.
    pub body_bytes: usize,
    /// Bytes of answers.
    pub answer_bytes: usize,
}

impl Default for Counts {
    fn default() -> Self {
        Self {
            calls: METHODS.iter().map(|_| Default::default()).collect(),
            errors: Default::default(),
            refused: Reason::VARIANTS.iter().map(|_| AtomicU64::new(0)).collect(),
            timing: Mutex::default(),
        }
    }
}

impl Counts {
    /// The method at this place of the table was called.
    pub(super) fn called(&self, method: usize, failure: Option<&Failure>) {
        let outcome = usize::from(failure.is_some());
        self.calls[method][outcome].fetch_add(1, Relaxed);
        let code = failure.map(Failure::code);
        let at = code.and_then(|code| Failure::CODES.iter().position(|it| *it == code));
        if let Some(at) = at {
            self.errors[at].fetch_add(1, Relaxed);
        }
    }

    /// A request was no call.
    pub(super) fn refused(&self, refused: &Refused) {
        let reason = Reason::from(refused);
        self.refused[reason as usize].fetch_add(1, Relaxed);
    }

    /// A request was answered after this time.
    pub(super) fn answered(&self, after: Duration) {
        let ns = u64::try_from(after.as_nanos()).unwrap_or(u64::MAX);
        let mut timing = self.timing.lock().unwrap_or_else(PoisonError::into_inner);
        timing.record(ns);
    }

    /// A copy.
    pub(super) fn counted(&self, of: &Shared) -> Counted {
        let calls = METHODS.iter().zip(&self.calls);
        let errors = Failure::CODES.iter().zip(&self.errors);
        let refused = Reason::VARIANTS.iter().zip(&self.refused);
        let timing = self.timing.lock().unwrap_or_else(PoisonError::into_inner);
        Counted {
            calls: calls
                .map(|(method, counts)| (method.name, counts.each_ref().map(|it| it.load(Relaxed))))
                .collect(),
            errors: errors
                .map(|(code, count)| (*code, count.load(Relaxed)))
                .collect(),
            refused: refused
                .map(|(reason, count)| (reason.name(), count.load(Relaxed)))
                .collect(),
            timing: timing.clone(),
            connections: of.places.taken(),
            crowded_out: of.crowded_out.load(Relaxed),
            body_bytes: of.bodies.bytes(),
            answer_bytes: of.answers.bytes(),
        }
    }
}

impl Counted {
    /// What there is to say where there is no API: all series, at zero.
    pub fn none() -> Self {
        Self {
            calls: METHODS.iter().map(|method| (method.name, [0; 2])).collect(),
            errors: Failure::CODES.iter().map(|code| (*code, 0)).collect(),
            refused: Reason::VARIANTS.iter().map(|it| (it.name(), 0)).collect(),
            ..Self::default()
        }
    }
}
