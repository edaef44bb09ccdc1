//! The permit of one call, for use without a service.

use aplomb_admission::{End, Permit, Progress};
use aplomb_core::{Outcome, Usage};

use crate::Slots;

/// The permit of one call, from a [`ConcurrencyLimiter`](crate::ConcurrencyLimiter). It holds a slot.
///
/// Dropping it means that the call was dropped before it was answered: it then counts as in flight for a while, if the limit
/// is adaptive.
#[derive(Debug)]
#[must_use = "dropping the permit means that the call was dropped"]
pub struct ConcurrencyPermit(Permit<Slots>);

impl ConcurrencyPermit {
    pub(crate) fn new(permit: Permit<Slots>) -> Self {
        Self(permit.sent_by_caller())
    }

    /// Notes that the first content of the answer has arrived.
    pub fn first_content(&mut self) {
        self.0.on(Progress::FirstByte);
    }

    /// Gives the slot back, and notes how the call ended.
    pub fn end(self, outcome: Outcome) {
        self.0.end(End::Judged { outcome, usage: None });
    }

    /// The same, with the tokens that the call used.
    pub fn end_with_usage(self, outcome: Outcome, usage: Usage) {
        self.0.end(End::Judged { outcome, usage: Some(usage) });
    }
}
