//! The permit of a call whose answer is still being read.

use crate::{BodyEnd, End, Gate, Permit, Progress, ResponseGuard};
use aplomb_core::{Classification, Kind, Outcome};

/// The permit of a call whose answer is still being read, and what the head of it said.
#[derive(Debug)]
pub struct PermitGuard<G: Gate> {
    pub(super) permit: Permit<G>,
    pub(super) classification: Classification,
}

impl<G: Gate> ResponseGuard for PermitGuard<G> {
    fn first_byte(&mut self) {
        // What has been read by now may be an error inside a good status.
        if self.classification.outcome().is_success() {
            self.permit.on(Progress::FirstByte);
        }
    }

    fn end(&mut self, end: BodyEnd) {
        let outcome = match (end, self.classification.outcome()) {
            (BodyEnd::Broken, read) if read.is_success() => Outcome::transient(),
            (_, read) => read,
        };
        self.judged(outcome);
    }
}

impl<G: Gate> PermitGuard<G> {
    /// Tells the gate, once. An answer that was given up on this side had been sent, and nobody waited
    /// for its end.
    fn judged(&mut self, outcome: Outcome) {
        if outcome.kind() != Kind::Local {
            return self.permit.finish_as(&self.classification, outcome);
        }
        if let Some(usage) = self.classification.usage() {
            self.permit.on(Progress::Usage(usage));
        }
        self.permit.finish(End::Abandoned);
    }
}

/// The caller went away. Many do so at the end marker of a stream, and have read all of it; else what
/// had been seen of the answer has been consumed all the same.
impl<G: Gate> Drop for PermitGuard<G> {
    fn drop(&mut self) {
        let outcome = if self.classification.is_final() {
            self.classification.outcome()
        } else {
            Outcome::local()
        };
        self.judged(outcome);
    }
}
