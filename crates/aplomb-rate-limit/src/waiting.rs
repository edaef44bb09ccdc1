//! What a call does that can not go at once.

use std::time::Duration;

use aplomb_admission::QueueLimits;

/// What a call does that can not go at once. Its own deadline holds besides.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Waiting {
    /// It waits in line. The default.
    #[default]
    InLine,
    /// It is refused.
    Refused,
    /// It waits in line if that will take no longer than this, and is refused at once otherwise; at the
    /// latest when the time is over.
    AtMost(Duration),
}

impl Waiting {
    pub(crate) const fn bound(self, limits: QueueLimits) -> QueueLimits {
        limits.max_wait(match self {
            Self::InLine => Duration::MAX,
            Self::Refused => Duration::ZERO,
            Self::AtMost(longest) => longest,
        })
    }
}
