//! What is kept of a key's limit while nobody uses it.

use std::time::Duration;

use aplomb_admission::{Idle, Rests};
use tokio::time::Instant;

use crate::average_duration::AverageDuration;
use crate::controller::Learned;
use crate::{LimitChange, Slots};

/// What is kept of [`Slots`] at rest: what the limit has learned, if that is anything.
///
/// It is idle when nothing was learned, or what was has not been used for an hour; and it can be spared where
/// there has to be room for another key, since all it costs is to learn it again.
///
/// A limit that was set by hand is not kept: the policy says which it is when the key comes into use again.
///
/// # Sources
///
/// An hour, and that less is kept where there is no room: what Linux remembers of TCP's peers
/// (`tcp_metrics.c`).
#[derive(Clone, Debug)]
pub struct SlotsAtRest {
    known: Option<Known>,
}

#[derive(Clone, Debug)]
struct Known {
    learned: Learned,
    average_duration: AverageDuration,
    last_change: Option<LimitChange>,
    since: Instant,
}

/// What was learned is forgotten when nobody has used it for so long.
const KEPT: Duration = Duration::from_secs(60 * 60);

impl SlotsAtRest {
    pub(crate) fn new(
        learned: Option<Learned>,
        average_duration: AverageDuration,
        last_change: Option<LimitChange>,
        since: Instant,
    ) -> Self {
        Self {
            known: learned.map(|learned| Known { learned, average_duration, last_change, since }),
        }
    }
}

impl Rests for Slots {
    type Rest = SlotsAtRest;

    fn rest(&self, now: Instant) -> Option<SlotsAtRest> {
        self.at_rest(now)
    }

    fn resume(&mut self, rest: SlotsAtRest) {
        if let Some(Known { learned, average_duration, last_change, .. }) = rest.known {
            self.go_on(&learned, average_duration, last_change);
        }
    }
}

impl Idle for SlotsAtRest {
    fn is_idle(&self, now: Instant) -> bool {
        self.known.as_ref().is_none_or(|known| now.saturating_duration_since(known.since) >= KEPT)
    }

    fn is_spare(&self, _: Instant) -> bool {
        true
    }
}
