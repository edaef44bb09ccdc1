//! The permit of a call whose response is still being read.

use aplomb_core::{Classification, Kind, Outcome, Usage};

use crate::{BodyEnd, End, Gate, Permit, Progress, ResponseGuard};

/// The permit of a call whose response is still being read, and its classification so far.
#[derive(Debug)]
pub struct PermitGuard<G: Gate> {
    pub(super) permit: Permit<G>,
    pub(super) classification: Classification,
}

impl<G: Gate> ResponseGuard for PermitGuard<G> {
    fn first_byte(&mut self) {
        // It may be an error with a good status.
        if self.classification.is_success() {
            self.permit.on(Progress::FirstByte);
        }
    }

    fn end(&mut self, end: BodyEnd) {
        let (outcome, usage, _) = self.classification.so_far();
        let is_broken = end == BodyEnd::Broken && outcome.is_success();
        self.judged(if is_broken { Outcome::transient() } else { outcome }, usage);
    }
}

impl<G: Gate> PermitGuard<G> {
    /// Tells the gate, once. A call that ended on this side had been sent, and the caller did not wait for its end.
    fn judged(&mut self, outcome: Outcome, usage: Option<Usage>) {
        if outcome.kind() != Kind::Local {
            return self.permit.finish_judged(outcome, usage);
        }
        if let Some(usage) = usage {
            self.permit.on(Progress::Usage(usage));
        }
        self.permit.finish(End::Abandoned);
    }
}

/// The caller went away. Many do so at the end marker of a stream, and have read all of it. If not, the part of the
/// response that was read has been consumed anyway.
impl<G: Gate> Drop for PermitGuard<G> {
    fn drop(&mut self) {
        if self.permit.has_ended() {
            return;
        }
        let (outcome, usage, is_final) = self.classification.so_far();
        self.judged(if is_final { outcome } else { Outcome::local() }, usage);
    }
}
