//! The limits that a server reports in its response headers.

use std::time::Duration;

use crate::Dimension;

/// One limit as a response's headers report it: how much is allowed per window, how much is left, and when
/// the limit is full again.
///
/// Values that the headers do not contain, or that make no sense (negative numbers, times in the past), are
/// `None`.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use aplomb_core::{Dimension, Reading};
///
/// let reading = Reading::of(Dimension::REQUESTS)
///     .with_limit(60)
///     .with_remaining(59)
///     .with_reset(Duration::from_secs(1));
/// assert_eq!(reading.remaining(), Some(59));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub struct Reading {
    dimension: Dimension,
    limit: Option<u64>,
    remaining: Option<u64>,
    reset: Option<Duration>,
    window: Option<Duration>,
}

impl Reading {
    /// A reading of `dimension` without any values.
    pub const fn of(dimension: Dimension) -> Self {
        Self { dimension, limit: None, remaining: None, reset: None, window: None }
    }

    /// Sets how much is allowed per window.
    pub const fn with_limit(mut self, limit: u64) -> Self {
        self.limit = Some(limit);
        self
    }

    /// Sets how much was left when the response was sent.
    pub const fn with_remaining(mut self, remaining: u64) -> Self {
        self.remaining = Some(remaining);
        self
    }

    /// Sets how long after the response the limit is full again.
    pub const fn with_reset(mut self, reset: Duration) -> Self {
        self.reset = Some(reset);
        self
    }

    /// Sets the window. Many servers do not report it.
    pub const fn with_window(mut self, window: Duration) -> Self {
        self.window = Some(window);
        self
    }

    /// The unit of the limit.
    pub const fn dimension(&self) -> Dimension {
        self.dimension
    }

    /// How much is allowed per window.
    pub const fn limit(&self) -> Option<u64> {
        self.limit
    }

    /// How much was left.
    pub const fn remaining(&self) -> Option<u64> {
        self.remaining
    }

    /// How long after the response the limit is full again.
    pub const fn reset(&self) -> Option<Duration> {
        self.reset
    }

    /// The window.
    pub const fn window(&self) -> Option<Duration> {
        self.window
    }
}
