//! What a server says about its own limits.

use std::time::Duration;

use crate::Dimension;

/// What the head of a response says about one limit: how much there is per window, how much is left,
/// and when all of it is there again.
///
/// A reader leaves unset what the head does not say or says in a way that makes no sense (negative
/// numbers, times in the past). Who uses a reading ignores what contradicts itself.
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
    /// Nothing said about `dimension` so far.
    pub const fn of(dimension: Dimension) -> Self {
        Self { dimension, limit: None, remaining: None, reset: None, window: None }
    }

    /// Sets how much there is per window.
    pub const fn with_limit(mut self, limit: u64) -> Self {
        self.limit = Some(limit);
        self
    }

    /// Sets how much was left when the response was made.
    pub const fn with_remaining(mut self, remaining: u64) -> Self {
        self.remaining = Some(remaining);
        self
    }

    /// Sets how long after the response all of the limit is there again.
    pub const fn with_reset(mut self, reset: Duration) -> Self {
        self.reset = Some(reset);
        self
    }

    /// Sets the window, where it is known: many servers leave it out.
    pub const fn with_window(mut self, window: Duration) -> Self {
        self.window = Some(window);
        self
    }

    /// What the limit counts.
    pub const fn dimension(&self) -> Dimension {
        self.dimension
    }

    /// How much there is per window.
    pub const fn limit(&self) -> Option<u64> {
        self.limit
    }

    /// How much was left.
    pub const fn remaining(&self) -> Option<u64> {
        self.remaining
    }

    /// How long after the response all of the limit is there again.
    pub const fn reset(&self) -> Option<Duration> {
        self.reset
    }

    /// The window.
    pub const fn window(&self) -> Option<Duration> {
        self.window
    }
}

/// Reads what the head of a response says about the server's limits.
///
/// A closure `Fn(&Res) -> Vec<Reading>` is one. One that says nothing allocates nothing.
pub trait ReadLimits<Res> {
    /// One reading for each limit that `response` tells of; empty where it tells of none.
    fn read_limits(&self, response: &Res) -> Vec<Reading>;
}

impl<Res, F: Fn(&Res) -> Vec<Reading>> ReadLimits<Res> for F {
    fn read_limits(&self, response: &Res) -> Vec<Reading> {
        self(response)
    }
}
