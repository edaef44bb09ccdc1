//! The permit of one call, for use without a service.

use aplomb_admission::{End, Permit, Progress};
use aplomb_core::{Outcome, Usage};

use crate::Circuit;

/// The permit of one call, from [`CircuitHandle::try_acquire`](crate::CircuitHandle::try_acquire).
///
/// Dropping it means that the call was dropped before it was answered: see [`OnAbandoned`](crate::OnAbandoned).
#[derive(Debug)]
#[must_use = "dropping the permit means that the call was dropped"]
pub struct CircuitPermit(Permit<Circuit>);

impl CircuitPermit {
    pub(crate) fn new(permit: Permit<Circuit>) -> Self {
        Self(permit.sent_by_caller())
    }

    /// Notes that the first content of the answer has arrived.
    pub fn first_content(&mut self) {
        self.0.on(Progress::FirstByte);
    }

    /// Notes how the call ended.
    pub fn end(self, outcome: Outcome) {
        self.0.end(End::Judged { outcome, usage: None });
    }

    /// Notes how the call ended, and the tokens it used.
    pub fn end_with_usage(self, outcome: Outcome, usage: Usage) {
        self.0.end(End::Judged { outcome, usage: Some(usage) });
    }
}
