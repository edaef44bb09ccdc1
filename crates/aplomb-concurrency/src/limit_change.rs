//! How a limit moved, and why.

use std::fmt;

use aplomb_admission::KeyNotice;
use aplomb_core::Observe;
use tokio::time::Instant;

/// A move of the limit, by at least one call. Told once, outside of any lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LimitChange {
    pub(crate) from: usize,
    pub(crate) to: usize,
    pub(crate) cause: LimitChangeCause,
    pub(crate) at: Instant,
}

/// Why a limit changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum LimitChangeCause {
    /// Up: calls were answered, and where the limit is was not known yet.
    SlowStart,
    /// Up: calls that filled the limit were answered.
    Answered,
    /// Down: a call failed because the peer had too much to do, was lost, or took too long.
    Overload,
    /// Down: the peer said that it was one too many, or refused it without saying until when.
    Throttled,
    /// Down: answers came more slowly.
    Slower,
    /// It was set by hand.
    Set,
}

impl LimitChange {
    /// The limit before.
    pub const fn from(&self) -> usize {
        self.from
    }

    /// The limit after.
    pub const fn to(&self) -> usize {
        self.to
    }

    /// Why.
    pub const fn cause(&self) -> LimitChangeCause {
        self.cause
    }

    /// When.
    pub const fn at(&self) -> Instant {
        self.at
    }
}

/// Writes each [`LimitChange`] to `tracing`, one line at debug; with its key, where each key has a limit of its own.
///
/// A key is shown as its `Debug` shows it, as in refusals: it must not hold a secret.
#[derive(Clone, Copy, Debug, Default)]
pub struct TracingObserver;

impl Observe<LimitChange> for TracingObserver {
    fn on_event(&self, moved: &LimitChange) {
        moved.log(None);
    }
}

impl<K: fmt::Debug> Observe<KeyNotice<'_, K, LimitChange>> for TracingObserver {
    fn on_event(&self, notice: &KeyNotice<'_, K, LimitChange>) {
        notice.notice().log(Some(notice.key()));
    }
}

impl LimitChange {
    fn log(&self, key: Option<&dyn fmt::Debug>) {
        let Self { from, to, cause, .. } = self;
        let key = key.map(tracing::field::debug);
        tracing::debug!(key, from, to, %cause, "concurrency limit moved");
    }
}

impl fmt::Display for LimitChangeCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::SlowStart => "slow start",
            Self::Answered => "calls were answered",
            Self::Overload => "overload",
            Self::Throttled => "throttled",
            Self::Slower => "answers came more slowly",
            Self::Set => "set by hand",
        })
    }
}

impl fmt::Display for LimitChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "limit {} → {}: {}", self.from, self.to, self.cause)
    }
}
