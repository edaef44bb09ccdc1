//! What is kept of a pause while nobody uses its key.

use std::time::Duration;

use aplomb_admission::Idle;
use tokio::time::Instant;

use super::{LONGEST_UNTOLD_PAUSE, Ongoing, Pause};

/// A pause, or what it has left behind.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Paused {
    now: Option<Ongoing>,
    ramp: Duration,
    untold: u32,
    since: Instant,
}

impl Pause {
    /// What is to be kept; `None` where it is as good as new.
    pub(crate) fn rest(&self, now: Instant) -> Option<Paused> {
        let ramp = self.pacing.ramp;
        let paused = Paused { now: self.now, ramp, untold: self.untold, since: now };
        (!paused.is_idle(now)).then_some(paused)
    }

    /// Goes on from what was kept.
    pub(crate) const fn resume(&mut self, paused: Paused) {
        self.now = paused.now;
        self.untold = paused.untold;
    }
}

impl Idle for Paused {
    fn is_idle(&self, now: Instant) -> bool {
        // How long pauses have grown is forgotten when nobody has called for as long as the longest.
        let grown = self.untold > 0 && now < self.since + LONGEST_UNTOLD_PAUSE;
        !grown && self.now.is_none_or(|pause| now >= pause.over(self.ramp))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pause::Pacing;

    #[test]
    fn how_long_pauses_have_grown_is_kept_for_a_while() {
        let start = Instant::now();
        let mut pause = Pause::new(Pacing::new(), 1);
        assert!(pause.rest(start).is_none());
        pause.throttled(start, None, start);
        let later = start + Duration::from_secs(10);
        let kept = pause.rest(later).unwrap();
        assert!(!kept.is_idle(later + Duration::from_secs(59)));
        assert!(kept.is_idle(later + Duration::from_secs(60)));
        let mut resumed = Pause::new(Pacing::new(), 2);
        resumed.resume(kept);
        resumed.throttled(later, None, later);
        assert!(resumed.until(later).unwrap() >= later + Duration::from_secs(1), "the second pause");
    }
}
