//! The amounts that an admitted call has drawn from the quotas.

use aplomb_admission::server::ServerToken;
use smallvec::SmallVec;
use tokio::time::Instant;

/// The amounts that an admitted call has drawn from the quotas, until it ends.
#[derive(Debug)]
pub struct Reservation {
    /// When it went.
    pub(super) at: Instant,
    /// How many requests it counts as.
    pub(super) requests: u64,
    /// True if the server has not answered yet.
    pub(super) unanswered: bool,
    /// True if the server has accepted it.
    pub(super) accepted: bool,
    /// The call, as it was told to the server.
    pub(super) server: Option<ServerToken>,
    /// True if the head of the answer showed a limit with too little left for it.
    pub(super) shortage_shown: bool,
    pub(super) shares: SmallVec<[Share; 2]>,
}

/// The amount that a call has drawn from one bucket.
#[derive(Clone, Copy, Debug)]
pub(super) struct Share {
    /// The quota, and how often it had changed.
    pub(super) id: u32,
    pub(super) changes: u16,
    /// True if the head of the answer showed that the server had enough left for it.
    pub(super) enough_shown: bool,
    pub(super) cost: u64,
    /// The units that all calls had drawn from the bucket, with this one.
    pub(super) taken: u64,
    /// Until when it drew the bucket.
    pub(super) drawn_until: u64,
}

impl Share {
    /// A placeholder, of no bucket.
    pub(super) const NONE: Self =
        Self { id: u32::MAX, changes: 0, enough_shown: false, cost: 0, taken: 0, drawn_until: 0 };
}
