//! How far a call has come.

use std::time::Duration;

use aplomb_core::{CallOptions, Failed, Outcome, RequestHead};
use tokio::time::Instant;

use crate::layer::Settings;
use crate::{Retried, Stopped};

/// What is known of one call, and what the layers inside are told of it.
#[derive(Debug)]
pub(crate) struct Progress {
    options: CallOptions,
    /// When the call began; `None` where nothing depends on it.
    arrived: Option<Instant>,
    max_elapsed: Option<Duration>,
    /// Whether the request type hides its extensions and there is something to say: the options are
    /// in the task-local then, while the attempt is polled.
    scoped: bool,
    attempts: u32,
    last: Outcome,
    waited: Duration,
    previous: Option<Duration>,
    /// This call's number among those that needed chance.
    pub(crate) number: Option<u64>,
}

impl Progress {
    #[inline]
    pub(crate) fn new(options: CallOptions, settings: &Settings) -> Self {
        let max_elapsed = settings.max_elapsed;
        let timed = max_elapsed.is_some() || (settings.rules.max_retries > 0 && options.allows_retry());
        Self {
            options,
            arrived: timed.then(Instant::now),
            max_elapsed,
            scoped: false,
            attempts: 0,
            last: Outcome::success(),
            waited: Duration::ZERO,
            previous: None,
            number: None,
        }
    }

    pub(crate) fn allows_retry(&self) -> bool {
        self.options.allows_retry()
    }

    /// How many attempts this layer has made.
    pub(crate) fn attempts(&self) -> u32 {
        self.attempts
    }

    /// What the attempt before came to.
    pub(crate) fn last(&self) -> Option<Outcome> {
        (!self.last.is_success()).then_some(self.last)
    }

    /// Counts an attempt that is about to be sent, and tells the layers inside where that is news.
    #[inline]
    pub(crate) fn begin_attempt(&mut self, request: &mut impl RequestHead) {
        if self.attempts == 0 {
            // `options.scope(service.call(request))` sets the task-local only now.
            if let Some(current) = CallOptions::current()
                && self.options == CallOptions::new()
            {
                self.options = current;
            }
        }
        self.attempts = self.attempts.saturating_add(1);
        if self.attempts > 1 || self.max_elapsed.is_some() {
            match request.extensions_mut() {
                Some(extensions) => drop(extensions.insert(self.options_inside())),
                None => self.scoped = true,
            }
        }
    }

    /// What the layers inside are told of the attempt that has begun.
    fn options_inside(&self) -> CallOptions {
        let mut options = self.options;
        if let Some(deadline) = self.deadline() {
            options = options.with_deadline(deadline);
        }
        let before = self.attempts.saturating_sub(1);
        if before > 0 {
            let attempts = options.attempts().saturating_add(before);
            options = options.with_attempts(attempts, self.last);
            if let Some(arrived) = options.arrived().or(self.arrived) {
                options = options.with_arrival(arrived);
            }
        }
        options
    }

    /// The options that belong into the task-local while the attempt is called and polled.
    #[inline]
    pub(crate) fn scoped(&self) -> Option<CallOptions> {
        self.scoped.then(|| self.options_inside())
    }

    /// The deadline that holds: the earlier of the caller's and the layer's.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        // A time too long to be added is no limit.
        let own = self.max_elapsed.and_then(|most| self.arrived?.checked_add(most));
        match (self.options.deadline(), own) {
            (Some(theirs), Some(own)) => Some(theirs.min(own)),
            (deadline, None) | (None, deadline) => deadline,
        }
    }

    /// The call as a backoff sees it, after an attempt that came to `outcome`.
    pub(crate) fn failed(&self, outcome: Outcome) -> Failed<'static> {
        Failed::new(self.attempts.saturating_sub(1), outcome).with_previous(self.previous)
    }

    /// Notes that the call waits and is sent again.
    pub(crate) fn wait(&mut self, outcome: Outcome, wait: Duration) {
        self.last = outcome;
        self.previous = Some(wait);
        self.waited = self.waited.saturating_add(wait);
    }

    /// How the call went.
    pub(crate) fn retried(&self, stopped: Option<Stopped>) -> Retried {
        Retried { attempts: self.attempts, waited: self.waited, stopped }
    }
}
