//! How far a call has come.

use std::time::Duration;

use aplomb_core::{CallOptions, Failed, Outcome, RequestHead, RetryMark, SetMark};
use tokio::time::Instant;

use crate::budget::Account;
use crate::config::Settings;
use crate::delay::{Rules, Standing};
use crate::{Repeatable, Retried, Stopped, headers};

/// What is known of one call, and what the layers inside are told of it.
#[derive(Debug)]
pub(crate) struct Progress {
    /// The caller's, with the deadline that holds, and from the first retry on with what the layers
    /// inside are to know.
    options: CallOptions,
    /// When the call began; `None` where nothing depends on it.
    began: Option<Instant>,
    account: Option<Account>,
    /// In a box, since most calls have none.
    past: Option<Box<Past>>,
    attempts: u32,
    /// Why it will not be sent again whatever happens.
    barred: Option<Stopped>,
    only_unprocessed: bool,
    /// Whether the request brought options of its own.
    told: bool,
    news: News,
}

/// What has gone wrong so far.
#[derive(Debug, Default)]
pub(crate) struct Past {
    waited: Duration,
    /// Since when it waits.
    since: Option<Instant>,
    /// The wait before the attempt that runs.
    previous: Option<Duration>,
    /// This call's number among those that needed chance.
    pub(crate) number: Option<u64>,
}

/// What the layers inside have to be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum News {
    /// Nothing that the request does not say already.
    None,
    /// The options, which say more than the request does: a deadline of our own, or a retry.
    Options,
    /// The same, to a request that hides its extensions: in the task-local, while the attempt is
    /// polled.
    Scoped,
}

impl Progress {
    /// A call that begins now; its request may be given a key.
    #[inline]
    pub(crate) fn begin(request: &mut impl RequestHead, settings: &Settings) -> Self {
        let options = request.extensions().and_then(|extensions| extensions.get::<CallOptions>());
        let mut progress = Self {
            told: options.is_some(),
            options: options.copied().unwrap_or_default(),
            began: None,
            account: None,
            past: None,
            attempts: 0,
            barred: None,
            only_unprocessed: false,
            news: News::None,
        };
        progress.barred = progress.bar(settings);
        if progress.barred.is_none() || settings.max_elapsed.is_some() {
            progress.start_clock(settings);
        }
        if progress.barred.is_none() {
            progress.admit(request, settings);
        }
        progress
    }

    /// Why the call is made once, whatever its request.
    #[inline]
    fn bar(&self, settings: &Settings) -> Option<Stopped> {
        if settings.rules.max_retries == 0 {
            Some(Stopped::MaxRetries)
        } else if !self.options.allows_retry() {
            Some(Stopped::Disallowed)
        } else if settings.stands_down && (RetryMark::is_set() || self.options.attempts() > 0) {
            Some(Stopped::Nested)
        } else {
            None
        }
    }

    #[inline]
    fn start_clock(&mut self, settings: &Settings) {
        let now = Instant::now();
        self.began = Some(now);
        // A time too long to be added is no limit.
        if let Some(deadline) = settings.max_elapsed.and_then(|most| now.checked_add(most)) {
            self.options = self.options.with_deadline(deadline);
            self.news = News::Options;
        }
    }

    /// Looks at the request: whether it may be sent again, who pays for it, what it has to carry.
    fn admit(&mut self, request: &mut impl RequestHead, settings: &Settings) {
        // First: a request with a key may be repeated.
        let key = settings.idempotency_key.as_ref();
        // From nobody's seed: a key that comes twice is worse than none.
        let added = key.filter(|name| headers::add_key(request, name, &mut rand::rng()));
        match settings.repeatable.of(request, key) {
            Repeatable::Always => {}
            Repeatable::WhenUnprocessed => self.only_unprocessed = true,
            Repeatable::Never => {
                if let Some(name) = added {
                    headers::remove_key(request, name);
                }
                self.barred = Some(Stopped::NotRepeatable);
                return;
            }
        }
        if let (Some(budget), Some(now)) = (&settings.budget, self.began) {
            let mut account = Account::open(budget, request, now);
            // What the client in front of us sends again is a retry too; where nothing is left to pay for
            // it, nothing is left for ours.
            if headers::is_retried_outside(request) && !account.pay(Outcome::transient(), now) {
                self.barred = Some(Stopped::Budget);
            }
            self.account = Some(account);
        }
    }

    /// Whether the request may have to be sent again.
    #[inline]
    pub(crate) fn may_repeat(&self) -> bool {
        self.barred.is_none()
    }

    /// How many attempts this layer has made.
    #[inline]
    pub(crate) fn attempts(&self) -> u32 {
        self.attempts
    }

    /// How long the call has waited between its attempts.
    #[inline]
    pub(crate) fn waited(&self) -> Duration {
        self.past.as_ref().map_or(Duration::ZERO, |past| past.waited)
    }

    /// What has gone wrong so far.
    pub(crate) fn past(&mut self) -> &mut Past {
        self.past.get_or_insert_default()
    }

    fn previous(&self) -> Option<Duration> {
        self.past.as_ref()?.previous
    }

    /// What the attempt before came to.
    pub(crate) fn last(&self) -> Option<Outcome> {
        self.previous().and(self.options.last())
    }

    /// Counts an attempt that is about to be sent, and tells the layers inside where that is news.
    #[inline]
    pub(crate) fn begin_attempt(&mut self, request: &mut impl RequestHead, settings: &Settings) {
        self.attempts = self.attempts.saturating_add(1);
        self.resume();
        if let Some(name) = &settings.retry_count {
            headers::count(request, name, self.attempts - 1);
        }
        if let Some(account) = &mut self.account {
            account.sent();
        }
        if self.news != News::None {
            match request.extensions_mut() {
                Some(extensions) => drop(extensions.insert(self.options)),
                None => self.news = News::Scoped,
            }
        }
    }

    /// Looks around when the first attempt is about to be made: `options.scope(service.call(request))`
    /// sets the task-local only when the call is polled, and the call may be polled inside an attempt
    /// that it was not made in.
    #[inline]
    pub(crate) fn arrive(&mut self, settings: &Settings) {
        if !self.told
            && let Some(current) = CallOptions::current()
        {
            let deadline = self.options.deadline();
            self.options = deadline.map_or(current, |deadline| current.with_deadline(deadline));
        }
        if self.barred.is_none() {
            self.barred = self.bar(settings);
        }
    }

    /// The request turned out to be one that can not be sent twice.
    pub(crate) fn cannot_replay(&mut self) {
        self.barred = self.barred.or(Some(Stopped::CannotReplay));
    }

    /// One of our own gates refused the attempt: it was never sent.
    pub(crate) fn was_refused(&mut self) {
        if let Some(account) = &mut self.account {
            account.refund();
        }
    }

    /// Marks the step of the attempt that follows for the retry layers inside: hand the mark to
    /// [`end_step`](Self::end_step) after it.
    #[inline]
    pub(crate) fn begin_step(&self) -> Option<SetMark> {
        self.barred.is_none().then(RetryMark::set)
    }

    /// The step is over. Where a gate holds the attempt back until it can go, it is no burden, and free.
    #[inline]
    pub(crate) fn end_step(&mut self, mark: Option<SetMark>) {
        if let Some(account) = &mut self.account
            && mark.is_some_and(|mark| mark.is_paced())
        {
            account.refund();
        }
    }

    /// The options that belong into the task-local during a step.
    #[inline]
    pub(crate) fn scoped(&self) -> Option<CallOptions> {
        (self.news == News::Scoped).then_some(self.options)
    }

    /// The deadline that holds: the earlier of the caller's and the layer's.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.options.deadline()
    }

    /// How long ago the call began.
    pub(crate) fn elapsed(&self, now: Instant) -> Duration {
        self.began.map_or(Duration::ZERO, |began| now.saturating_duration_since(began))
    }

    /// The call as a backoff sees it, after an attempt that came to `outcome`.
    pub(crate) fn failed(&self, outcome: Outcome) -> Failed<'static> {
        Failed::new(self.attempts.saturating_sub(1), outcome).with_previous(self.previous())
    }

    /// What the decision depends on beside the failure.
    pub(crate) fn standing(&self, now: Instant) -> Standing {
        Standing {
            left: self.deadline().map(|deadline| deadline.saturating_duration_since(now)),
            barred: self.barred,
            only_unprocessed: self.only_unprocessed,
        }
    }

    /// Pays for a retry, unless it waits further in: then it is free.
    pub(crate) fn pay(&mut self, outcome: Outcome, rules: &Rules, now: Instant) -> Result<(), Stopped> {
        let Some(account) = &mut self.account else {
            return Ok(());
        };
        if rules.is_requeued(outcome) || account.pay(outcome, now) {
            Ok(())
        } else {
            Err(Stopped::Budget)
        }
    }

    /// The call has succeeded.
    #[inline]
    pub(crate) fn succeeded(&mut self) {
        if let Some(account) = &mut self.account {
            account.succeeded();
        }
    }

    /// Notes that the call waits and is sent again.
    pub(crate) fn wait(&mut self, outcome: Outcome, wait: Duration, now: Instant) {
        let past = self.past();
        past.previous = Some(wait);
        past.since = Some(now);
        // Those of a call that was retried outside as well go on counting.
        let before = self.options.attempts().saturating_add(1);
        self.options = self.options.with_attempts(before, outcome);
        if let Some(arrived) = self.options.arrived().or(self.began) {
            self.options = self.options.with_arrival(arrived);
        }
        self.news = News::Options;
    }

    /// The wait is over, or was cancelled.
    #[inline]
    pub(crate) fn resume(&mut self) {
        if let Some(past) = &mut self.past
            && let Some(since) = past.since.take()
        {
            past.waited = past.waited.saturating_add(since.elapsed());
        }
    }

    /// How the call went.
    pub(crate) fn retried(&self, stopped: Option<Stopped>) -> Retried {
        Retried { attempts: self.attempts, waited: self.waited(), stopped }
    }
}
