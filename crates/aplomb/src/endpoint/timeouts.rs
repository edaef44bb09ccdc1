//! The timeouts of an attempt, on one timer.

use std::error::Error;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};

/// An attempt took too long. It was dropped; the server may still be working on it.
///
/// If nothing of the response has reached the caller yet, it is a failed attempt like any other and is retried; later
/// it is the error at the end of the response body. The circuit counts it either way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimedOut {
    timeout: Timeout,
    after: Duration,
}

/// The timeouts of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Timeout {
    /// The head of the response, see [`head_timeout`](crate::Policy::head_timeout).
    Head,
    /// The first content of the answer, see [`content_timeout`](crate::Policy::content_timeout).
    Content,
    /// More content, see [`idle_timeout`](crate::Policy::idle_timeout).
    Idle,
    /// Enough content in time, see [`min_throughput`](crate::Policy::min_throughput).
    Throughput,
    /// The end of the answer, see [`attempt_timeout`](crate::Policy::attempt_timeout).
    Attempt,
}

impl TimedOut {
    /// The client did not become ready within the head timeout.
    pub(super) const fn head(after: Duration) -> Self {
        Self { timeout: Timeout::Head, after }
    }

    /// The timeout that expired.
    #[must_use]
    pub const fn timeout(&self) -> Timeout {
        self.timeout
    }

    /// The value of the timeout.
    #[must_use]
    pub const fn after(&self) -> Duration {
        self.after
    }
}

impl fmt::Display for TimedOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.timeout {
            Timeout::Head => "no response arrived",
            Timeout::Content => "no content arrived",
            Timeout::Idle => "no more content arrived",
            Timeout::Throughput => "too little content arrived",
            Timeout::Attempt => "the answer did not end",
        };
        write!(f, "{what} within {:?}", self.after)
    }
}

impl Error for TimedOut {}

/// The values of the timeouts.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Timeouts {
    pub(crate) head: Duration,
    pub(crate) content: Duration,
    pub(crate) idle: Duration,
    pub(crate) attempt: Duration,
    pub(crate) throughput: Option<MinThroughput>,
}

/// The least content that arrives in each window.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MinThroughput {
    bytes: u64,
    window: Duration,
}

impl MinThroughput {
    /// `None` if any flow would do.
    pub(crate) fn new(bytes_per_second: u32, window: Duration) -> Option<Self> {
        let bytes = u128::from(bytes_per_second).saturating_mul(window.as_millis()).div_ceil(1_000);
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        (bytes > 0).then_some(Self { bytes, window })
    }
}

/// The next thing that an attempt waits for.
#[derive(Clone, Copy, Debug)]
pub(super) enum Awaited {
    Head,
    /// The first content or more of it, for a caller that is reading.
    Body {
        has_content: bool,
    },
    /// The same before the caller has the response, which it gets at this instant at the latest.
    Ahead {
        has_content: bool,
        until: Option<Instant>,
    },
    /// Something the attempt does not depend on: the body of an error, or the end of the body after the end marker.
    Optional {
        until: Option<Instant>,
    },
}

/// The time that has run out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Due {
    Timeout(TimedOut),
    /// The deadline of the whole call.
    Deadline,
    /// Nothing failed, but the wait was long enough.
    Enough,
}

/// Measures an attempt with one timer, which is moved as little as possible: it is set only when the attempt has to
/// wait, and while content keeps coming it is left to expire and then set again.
#[derive(Debug)]
pub(super) struct Stopwatch {
    /// Shared by all attempts: a stopwatch moves with its response.
    timeouts: Arc<Timeouts>,
    began: Instant,
    deadline: Option<Instant>,
    /// How long the caller has waited for content since the last of it. A slow reader does not make the server slow.
    idle: Duration,
    waits_since: Option<Instant>,
    /// The content of the current window, and how long the caller has waited in it.
    flow: (u64, Duration),
    timer: Option<Pin<Box<Sleep>>>,
}

impl Stopwatch {
    pub(super) const fn new(timeouts: Arc<Timeouts>, deadline: Option<Instant>, now: Instant) -> Self {
        Self {
            timeouts,
            began: now,
            deadline,
            idle: Duration::ZERO,
            waits_since: None,
            flow: (0, Duration::ZERO),
            timer: None,
        }
    }

    /// Moves the measurement of the same attempt.
    pub(super) fn take(&mut self) -> Self {
        let timer = self.timer.take();
        Self { timer, ..Self::new(Arc::clone(&self.timeouts), self.deadline, self.began) }
    }

    /// Something has arrived, with so many bytes of content.
    pub(super) fn arrived(&mut self, content: usize) {
        let since = self.waits_since.take();
        if let Some(least) = self.timeouts.throughput {
            self.flowed(content, since, least);
        }
        if content > 0 {
            self.idle = Duration::ZERO;
        } else if let Some(since) = since {
            self.idle = self.idle.saturating_add(since.elapsed());
        }
    }

    /// Counts what has arrived in the current window, which ends where it has lasted long enough.
    fn flowed(&mut self, content: usize, since: Option<Instant>, least: MinThroughput) {
        let (bytes, waited) = &mut self.flow;
        *bytes = bytes.saturating_add(content as u64);
        *waited = waited.saturating_add(since.map_or(Duration::ZERO, |since| since.elapsed()));
        if *waited >= least.window && *bytes >= least.bytes {
            self.flow = (0, Duration::ZERO);
        }
    }

    /// When too little will have arrived in the current window, if no more comes.
    fn crawls_at(&self, now: Option<Instant>) -> Option<(Instant, Due)> {
        let MinThroughput { bytes, window } = self.timeouts.throughput?;
        let (arrived, waited) = self.flow;
        let at = now?.checked_add(window.saturating_sub(waited))?;
        let timed_out = TimedOut { timeout: Timeout::Throughput, after: window };
        (arrived < bytes).then_some((at, Due::Timeout(timed_out)))
    }

    /// Nothing has arrived: waits for the next time to run out.
    pub(super) fn poll(&mut self, awaited: Awaited, cx: &mut Context<'_>) -> Poll<Due> {
        if !matches!(awaited, Awaited::Head) {
            self.waits_since.get_or_insert_with(Instant::now);
        }
        let Some((at, due)) = self.next(awaited) else {
            return Poll::Pending;
        };
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(at)));
        if timer.deadline() > at {
            timer.as_mut().reset(at);
        }
        loop {
            ready!(timer.as_mut().poll(cx));
            if timer.deadline() >= at {
                return Poll::Ready(due);
            }
            timer.as_mut().reset(at);
        }
    }

    /// The time that has run out although something has arrived. A body that is always ready never waits for the
    /// timer, if its reader is slower than its server.
    pub(super) fn overdue(&self, awaited: Awaited) -> Option<Due> {
        let (at, due) = self.next(awaited)?;
        (at < Instant::now()).then_some(due)
    }

    /// The next time to run out, and when.
    fn next(&self, awaited: Awaited) -> Option<(Instant, Due)> {
        let Timeouts { head, content, idle, attempt, .. } = *self.timeouts;
        let timeout = |from: Instant, left: Duration, timeout: Timeout, after: Duration| {
            Some((from.checked_add(left)?, Due::Timeout(TimedOut { timeout, after })))
        };
        let body = |has_content: bool| match self.waits_since {
            Some(since) if has_content => timeout(since, idle.saturating_sub(self.idle), Timeout::Idle, idle),
            _ if has_content => None,
            _ => timeout(self.began, content, Timeout::Content, content),
        };
        let attempt = timeout(self.began, attempt, Timeout::Attempt, attempt);
        let crawls = |has_content| self.crawls_at(self.waits_since.filter(|_| has_content));
        let enough = |until: Option<Instant>| Some((until?, Due::Enough));
        let all = match awaited {
            Awaited::Head => [
                timeout(self.began, head, Timeout::Head, head),
                attempt,
                None,
                None,
            ],
            Awaited::Body { has_content } => [
                body(has_content),
                attempt,
                self.deadline.map(|at| (at, Due::Deadline)),
                crawls(has_content),
            ],
            Awaited::Ahead { has_content, until } => {
                [body(has_content), attempt, enough(until), crawls(has_content)]
            }
            Awaited::Optional { until } => [
                enough(until),
                attempt.map(|(at, _)| (at, Due::Enough)),
                None,
                None,
            ],
        };
        // If several run out at the same instant, the first.
        all.into_iter().flatten().min_by_key(|(at, _)| *at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::advance;
    use tokio_test::{assert_pending, assert_ready_eq, task};

    const S: Duration = Duration::from_secs(1);

    const TIMEOUTS: Timeouts = Timeouts {
        head: Duration::from_secs(10),
        content: Duration::from_secs(20),
        idle: Duration::from_secs(5),
        attempt: Duration::from_secs(60),
        throughput: None,
    };

    const FLOWS: Awaited = Awaited::Body { has_content: true };

    const fn timed_out(timeout: Timeout, after: Duration) -> Due {
        Due::Timeout(TimedOut { timeout, after })
    }

    fn poll(watch: &mut Stopwatch, awaited: Awaited) -> Poll<Due> {
        task::spawn(()).enter(|cx, _| watch.poll(awaited, cx))
    }

    #[tokio::test(start_paused = true)]
    async fn each_timeout_counts_from_where_it_should() {
        let mut watch = Stopwatch::new(Arc::new(TIMEOUTS), None, Instant::now());
        assert_pending!(poll(&mut watch, Awaited::Head));
        advance(10 * S).await;
        assert_ready_eq!(poll(&mut watch, Awaited::Head), timed_out(Timeout::Head, 10 * S));
        let nothing = Awaited::Body { has_content: false };
        assert_pending!(poll(&mut watch, nothing));
        advance(10 * S).await;
        assert_ready_eq!(poll(&mut watch, nothing), timed_out(Timeout::Content, 20 * S));
        watch.arrived(1);
        assert_pending!(poll(&mut watch, FLOWS));
        advance(5 * S).await;
        assert_ready_eq!(poll(&mut watch, FLOWS), timed_out(Timeout::Idle, 5 * S));
    }

    #[tokio::test(start_paused = true)]
    async fn content_resets_the_idle_timeout_and_pings_do_not() {
        let mut watch = Stopwatch::new(Arc::new(TIMEOUTS), None, Instant::now());
        for content in [true, false] {
            watch.arrived(usize::from(content));
            assert_pending!(poll(&mut watch, FLOWS));
            advance(3 * S).await;
            assert_eq!(poll(&mut watch, FLOWS).is_ready(), !content);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn time_in_which_nobody_reads_does_not_count() {
        let mut watch = Stopwatch::new(Arc::new(TIMEOUTS), None, Instant::now());
        watch.arrived(1);
        advance(30 * S).await;
        assert_pending!(poll(&mut watch, FLOWS));
        advance(4 * S).await;
        assert_pending!(poll(&mut watch, FLOWS));
    }

    #[tokio::test(start_paused = true)]
    async fn the_deadline_holds_in_the_body_and_the_attempts_end_everywhere() {
        let now = Instant::now();
        let mut watch = Stopwatch::new(Arc::new(TIMEOUTS), Some(now + 2 * S), now);
        advance(2 * S).await;
        assert_pending!(poll(&mut watch, Awaited::Head));
        assert_ready_eq!(poll(&mut watch, FLOWS), Due::Deadline);
        let mut watch = Stopwatch::new(Arc::new(Timeouts { idle: 100 * S, ..TIMEOUTS }), None, now);
        assert_pending!(poll(&mut watch, FLOWS));
        advance(58 * S).await;
        assert_ready_eq!(poll(&mut watch, FLOWS), timed_out(Timeout::Attempt, 60 * S));
        let explanation = Awaited::Optional { until: Some(now + 99 * S) };
        assert_ready_eq!(poll(&mut watch, explanation), Due::Enough);
    }

    #[tokio::test(start_paused = true)]
    async fn content_at_a_crawl_runs_out_and_a_slow_reader_does_not() {
        let throughput = MinThroughput::new(10, 4 * S);
        let mut watch = Stopwatch::new(Arc::new(Timeouts { throughput, ..TIMEOUTS }), None, Instant::now());
        // 40 bytes in each window are enough, however late in it they come.
        for bytes in [40, 20, 20] {
            watch.arrived(bytes);
            assert_pending!(poll(&mut watch, FLOWS));
            advance(2 * S).await;
        }
        watch.arrived(40);
        advance(30 * S).await;
        assert_pending!(poll(&mut watch, FLOWS));
        advance(2 * S).await;
        watch.arrived(0);
        for _ in 0..3 {
            assert_pending!(poll(&mut watch, FLOWS));
            advance(S).await;
            watch.arrived(9);
        }
        assert_pending!(poll(&mut watch, FLOWS));
        advance(S).await;
        assert_ready_eq!(poll(&mut watch, FLOWS), timed_out(Timeout::Throughput, 4 * S));
        assert!(MinThroughput::new(0, S).is_none() && MinThroughput::new(1, Duration::ZERO).is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn without_limits_there_is_no_timer() {
        let never = Duration::MAX;
        let timeouts =
            Timeouts { head: never, content: never, idle: never, attempt: never, throughput: None };
        let mut watch = Stopwatch::new(Arc::new(timeouts), None, Instant::now());
        assert_pending!(poll(&mut watch, Awaited::Head));
        assert_pending!(poll(&mut watch, FLOWS));
        assert!(watch.timer.is_none());
    }
}
