//! How far the times are to be believed that the server names.

use std::time::Duration;

/// Hints are tried once: two early probes that are refused prove them right, one that is accepted proves them wrong.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Hints {
    right: u32,
    wrong: bool,
}

/// So many early probes that are refused prove that hints are right.
const PROVEN: u32 = 2;

/// No hint is longer than this, so that it can be added to any time.
const LONGEST: Duration = Duration::from_secs(10 * 365 * 24 * 60 * 60);

impl Hints {
    /// The hint, as far as everybody waits for it. A call always waits for its own.
    pub(super) fn believed(self, hint: Option<Duration>) -> Option<Duration> {
        hint.filter(|_| !self.wrong).map(|hint| hint.min(LONGEST))
    }

    /// Returns whether they are still to be tested.
    pub(super) const fn are_tested(self) -> bool {
        self.right < PROVEN && !self.wrong
    }

    pub(super) const fn were_right(&mut self) {
        self.right = self.right.saturating_add(1);
    }

    pub(super) const fn were_wrong(&mut self) {
        self.wrong = true;
    }
}
