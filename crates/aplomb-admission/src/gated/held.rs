//! The permit of a call whose answer is still being read.

use crate::{BodyEnd, End, Gate, Guard, Permit};
use aplomb_core::{Kind, Outcome, Verdict};

/// The permit of a call whose answer is still being read, and what the head of it said.
#[derive(Debug)]
pub struct Held<G: Gate> {
    pub(super) permit: Permit<G>,
    pub(super) verdict: Verdict,
}

impl<G: Gate> Guard for Held<G> {
    fn content(&mut self) {
        // What has been read by now may be an error inside a good status.
        if self.verdict.outcome().is_success() {
            self.permit.content();
        }
    }

    fn end(&mut self, end: BodyEnd) {
        let outcome = match (end, self.verdict.outcome()) {
            (BodyEnd::Broken, read) if read.is_success() => Outcome::transient(),
            (_, read) => read,
        };
        self.judged(outcome);
    }
}

impl<G: Gate> Held<G> {
    /// Tells the gate, once. An answer that was given up on this side had been sent, and nobody waited
    /// for its end.
    fn judged(&mut self, outcome: Outcome) {
        if outcome.kind() != Kind::Local {
            return self.permit.finish_as(&self.verdict, outcome);
        }
        if let Some(usage) = self.verdict.usage() {
            self.permit.used(usage);
        }
        self.permit.finish(End::Abandoned);
    }
}

/// The caller went away. Many do so at the end marker of a stream, and have read all of it; else what
/// had been seen of the answer has been consumed all the same.
impl<G: Gate> Drop for Held<G> {
    fn drop(&mut self) {
        let outcome = if self.verdict.is_final() {
            self.verdict.outcome()
        } else {
            Outcome::local()
        };
        self.judged(outcome);
    }
}
