//! What is known of the server: whether it asked for a pause, what it said of its limits, what was
//! found out about them.

use tokio::time::Instant;

use crate::finder::Finder;
use crate::pause::{Pacing, Pause};
use crate::reading::Agreeing;

/// Made when there is something to know, and gone when that is over.
#[derive(Debug)]
pub(super) struct Peer {
    pub(super) pause: Pause,
    pub(super) finder: Option<Finder>,
    /// By the number of the meter.
    pub(super) beliefs: Beliefs,
    /// When the first of what the server said lapses, unless it is said again; see
    /// [`lapse`](super::Quotas::lapse).
    pub(super) lapse: Option<u64>,
}

pub(super) type Beliefs = Vec<(u32, Belief)>;

/// What readings have said of one quota.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Belief {
    pub(super) level: Agreeing,
    pub(super) rate: Agreeing,
    /// Until when what they took from the bucket has flowed back.
    pub(super) tightened_until: u64,
    /// When there was one last.
    pub(super) confirmed: u64,
}

impl Peer {
    pub(super) fn new(pacing: Pacing, seed: u64) -> Self {
        Self {
            pause: Pause::new(pacing, seed),
            finder: None,
            beliefs: Beliefs::new(),
            lapse: None,
        }
    }

    pub(super) fn belief(&mut self, id: u32) -> &mut Belief {
        let found = self.beliefs.iter().position(|(of, _)| *of == id);
        let index = found.unwrap_or_else(|| {
            self.beliefs.push((id, Belief::default()));
            self.beliefs.len() - 1
        });
        &mut self.beliefs[index].1
    }

    pub(super) fn known_belief(&self, id: u32) -> Option<&Belief> {
        self.beliefs.iter().find(|(of, _)| *of == id).map(|(_, belief)| belief)
    }

    /// Forgets what was said of quotas that are not there any more.
    pub(super) fn forget(&mut self, gone: impl Fn(u32) -> bool) {
        self.beliefs.retain(|(id, _)| !gone(*id));
    }

    /// It may as well not be there.
    pub(super) fn knows_nothing(&self, now: Instant) -> bool {
        self.beliefs.is_empty() && self.finder.is_none() && self.pause.is_over(now)
    }
}
