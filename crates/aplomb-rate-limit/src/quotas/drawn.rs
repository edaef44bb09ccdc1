//! What an admitted call has drawn.

use smallvec::SmallVec;
use tokio::time::Instant;

/// What an admitted call has drawn, until it has ended.
#[derive(Debug)]
pub struct Drawn {
    pub(super) at: Instant,
    /// How many requests it counts as.
    pub(super) requests: u64,
    /// The server has not said a word yet.
    pub(super) unanswered: bool,
    /// It has been noted that the server took it.
    pub(super) taken: bool,
    /// The head of the answer showed a limit with too little left for it.
    pub(super) shortage_shown: bool,
    pub(super) shares: SmallVec<[Share; 2]>,
}

/// What it has drawn from one bucket.
#[derive(Clone, Copy, Debug)]
pub(super) struct Share {
    /// The meter, and how often it had changed.
    pub(super) id: u32,
    pub(super) changes: u16,
    /// The head of the answer showed that the server had enough left for it.
    pub(super) enough_shown: bool,
    pub(super) cost: u64,
    /// Until when it drew the bucket.
    pub(super) until: u64,
}

impl Share {
    /// Of no bucket.
    pub(super) const NONE: Self = Self { id: u32::MAX, changes: 0, enough_shown: false, cost: 0, until: 0 };
}
