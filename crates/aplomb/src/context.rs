//! The record of one call, shared by everything the call passes.

use std::collections::VecDeque;
use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aplomb_core::{CallOptions, Classification, Exchange, ExchangeRecord, ExchangeState, Outcome, Pacing};
use aplomb_rate_limit::Charge;
use tokio::time::Instant;

use crate::endpoint::PromptEstimate;

/// The record of one call: its options, its attempts and their results, and where its time went.
///
/// There is one for each call, behind one `Arc`. The request of each attempt carries it, the innermost judge
/// writes the result of the attempt into it, the gates, the circuit and the retry read that, and the caller reads
/// it as a [`Report`](crate::Report).
#[derive(Clone)]
pub(crate) struct CallContext(Arc<CallRecord>);

pub(crate) struct CallRecord {
    pub(crate) provider: &'static str,
    pub(crate) began: Instant,
    /// The cost of each attempt.
    charge: Charge,
    /// The estimate of the prompt, if the response may tell its true size.
    estimate: Option<PromptEstimate>,
    state: Mutex<CallState>,
    /// The result of the attempt that was sent last.
    current: Mutex<ExchangeState>,
}

/// A call that is refused is compared with those that are sent within this time.
const ALONE: Duration = Duration::from_secs(1);

/// A call that was refused so often while others got through is not sent again.
const MOST_REFUSALS: u32 = 8;

/// At most this many attempts are kept.
const KEPT: usize = 16;

#[derive(Default)]
struct CallState {
    /// Of the caller and of the policy, with what a retry adds.
    options: Option<CallOptions>,
    /// When the last attempt failed; and by when another call that is sent and accepted shows that others get through.
    failed: Option<(Instant, Instant)>,
    /// How often the call was refused while others got through.
    refused_alone: u32,
    /// How many answers had no content.
    empty_answers: u32,
    /// True if the next attempt goes behind those who wait.
    goes_behind: bool,
    /// The instant since which the next attempt waits to be admitted.
    asked: Option<Instant>,
    /// When the next attempt was admitted, if it was and has not been sent.
    admitted: Option<Instant>,
    /// When the last attempt ended, or the call.
    ended: Option<Instant>,
    sent: u32,
    /// How long the call waited to be admitted, before the last attempt that was sent.
    queued: Duration,
    /// How long it waited between its attempts.
    waited: Duration,
    /// The attempt that was sent last. Most calls have no other.
    last: Option<SentAttempt>,
    /// Attempts before that, with their results.
    earlier: VecDeque<(SentAttempt, ExchangeState)>,
}

/// An attempt that was sent. It keeps instants: most calls are never asked how long they took.
#[derive(Clone, Copy)]
pub(crate) struct SentAttempt {
    pub(crate) number: u32,
    /// When the attempt before ended.
    after: Option<Instant>,
    asked: Instant,
    admitted: Instant,
    sent: Instant,
    judged: Option<Instant>,
}

impl CallContext {
    /// A call that begins now, with the options that its request carries.
    pub(crate) fn new(
        provider: &'static str,
        now: Instant,
        options: Option<CallOptions>,
        (charge, estimate): (Charge, Option<PromptEstimate>),
    ) -> Self {
        let state = Mutex::new(CallState { options, ..CallState::default() });
        let current = Mutex::new(ExchangeState::new(0, succeeds(provider)));
        Self(Arc::new(CallRecord { provider, began: now, charge, estimate, state, current }))
    }

    pub(crate) const fn of(record: Arc<CallRecord>) -> Self {
        Self(record)
    }

    pub(crate) fn provider(&self) -> &'static str {
        self.0.provider
    }

    pub(crate) fn began(&self) -> Instant {
        self.0.began
    }

    pub(crate) fn charge(&self) -> &Charge {
        &self.0.charge
    }

    pub(crate) fn estimate(&self) -> Option<PromptEstimate> {
        self.0.estimate
    }

    pub(crate) fn options(&self) -> Option<CallOptions> {
        self.lock().options
    }

    pub(crate) fn set_options(&self, options: CallOptions) {
        let mut state = self.lock();
        state.options = Some(if state.goes_behind {
            options.without_arrival()
        } else {
            options
        });
    }

    /// The deadline of the call: the caller's or the policy's, whichever is earlier.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.lock().options.as_ref()?.deadline()
    }

    /// Options from the task-local, which are known only when the call is polled. Those that the request carries
    /// come before them.
    pub(crate) fn take_over_task_local(&self) {
        if let Some(current) = CallOptions::current() {
            self.lock().options.get_or_insert(current);
        }
    }

    /// An attempt waits to be admitted: the first since the call began, others since now.
    ///
    /// Returns when the attempt before failed, and by when others have to be accepted to show that it was not about
    /// everybody.
    pub(crate) fn asks(&self) -> Option<(Instant, Instant)> {
        let mut state = self.lock();
        let is_first = state.sent == 0 && state.asked.is_none();
        let now = if is_first { self.0.began } else { Instant::now() };
        // An attempt before that was never sent: the call has waited since.
        let since = state.asked.take().or(state.ended);
        match (since, state.admitted.take()) {
            (Some(since), None) => state.waited += now.saturating_duration_since(since),
            (Some(since), Some(admitted)) => state.queued += admitted.saturating_duration_since(since),
            (None, _) => {}
        }
        state.asked = Some(now);
        state.failed
    }

    /// An attempt is sent again although others got through when the one before failed: the call is under suspicion, and
    /// goes behind those who wait from now on.
    pub(crate) fn suspect(&self) {
        let mut state = self.lock();
        state.refused_alone = state.refused_alone.saturating_add(1);
        state.goes_behind = true;
    }

    /// An answer has no content. Returns whether it is asked for again, which is done at most `most` times.
    pub(crate) fn asks_again(&self, most: u32) -> bool {
        if most == 0 {
            return false;
        }
        let mut state = self.lock();
        state.empty_answers = state.empty_answers.saturating_add(1);
        state.empty_answers <= most
    }

    /// An attempt failed, and may be made again. `in_queue` says that the server lets nobody through, `probed` that the
    /// attempt was to find that out.
    pub(crate) fn failed(&self, outcome: Outcome, in_queue: bool, probed: bool, now: Instant) {
        let mut state = self.lock();
        let hint = outcome.retry_after().unwrap_or(ALONE).min(ALONE);
        state.failed = Some((now, now + hint));
        state.goes_behind |= probed;
        let is_hopeless = outcome.is_shared_throttle() && state.refused_alone >= MOST_REFUSALS;
        let pacing = if in_queue { Pacing::InQueue } else { Pacing::Alone };
        let outcome = outcome.with_pacing(pacing);
        self.current().set_outcome(if is_hopeless {
            outcome.forbid_retry()
        } else {
            outcome
        });
    }

    /// The attempt is admitted, and will be sent later.
    pub(crate) fn admitted(&self) {
        let now = Instant::now();
        self.lock().admitted = Some(now);
    }

    /// The attempt is sent. Returns its record, and the deadline of the call.
    pub(crate) fn sends(&self, now: Instant) -> (Exchange, Option<Instant>) {
        let mut state = self.lock();
        let state = &mut *state;
        state.sent = state.sent.saturating_add(1);
        let number = state.sent;
        let last = state.last.replace(SentAttempt {
            number,
            after: state.ended.take(),
            asked: state.asked.take().unwrap_or(now),
            admitted: state.admitted.take().unwrap_or(now),
            sent: now,
            judged: None,
        });
        let mut current = self.current();
        match last {
            // Nearly always: nothing has been written yet.
            None => current.begin(number),
            Some(last) => {
                state.queued += last.queued();
                let next = ExchangeState::new(number, succeeds(self.0.provider));
                state.earlier.push_back((last, mem::replace(&mut current, next)));
                if state.earlier.len() == KEPT {
                    state.earlier.pop_front();
                }
            }
        }
        let deadline = state.options.as_ref().and_then(CallOptions::deadline);
        (Exchange::within(Arc::clone(&self.0) as Arc<dyn ExchangeRecord>, number), deadline)
    }

    /// The attempt that was sent last is judged.
    pub(crate) fn judged(&self) {
        let now = Instant::now();
        let mut state = self.lock();
        state.ended = Some(now);
        if let Some(attempt) = &mut state.last {
            attempt.judged = Some(now);
        }
    }

    /// The call has ended.
    pub(crate) fn ended(&self) {
        let mut state = self.lock();
        // An attempt that was not admitted or not answered; otherwise the last attempt has only just been judged.
        if state.asked.is_some() || state.ended.is_none() {
            let now = Instant::now();
            if let Some(asked) = state.asked.take() {
                let admitted = state.admitted.take().unwrap_or(now);
                state.queued += admitted.saturating_duration_since(asked);
            }
            state.ended = Some(now);
        }
    }

    /// How many attempts were sent.
    pub(crate) fn sent(&self) -> u32 {
        self.lock().sent
    }

    /// How long the call waited to be admitted, all attempts together.
    pub(crate) fn queued(&self) -> Duration {
        let state = self.lock();
        let last = state.last.map_or(Duration::ZERO, |last| last.queued());
        // Admitted, and not sent yet.
        let next = state.asked.zip(state.admitted);
        let next = next.map_or(Duration::ZERO, |(asked, at)| at.saturating_duration_since(asked));
        state.queued + last + next
    }

    /// How long the call waited between its attempts.
    pub(crate) fn waited(&self) -> Duration {
        self.lock().waited
    }

    /// How long the call took, or has taken so far.
    pub(crate) fn elapsed(&self) -> Duration {
        let ended = self.lock().ended;
        ended.unwrap_or_else(Instant::now).saturating_duration_since(self.0.began)
    }

    /// The attempts that are kept with their results, oldest first. Those of an attempt that was not judged are
    /// only assumptions.
    pub(crate) fn attempts(&self) -> Vec<(SentAttempt, ExchangeState)> {
        let state = self.lock();
        let last = state.last.map(|last| (last, self.current().clone()));
        state.earlier.iter().cloned().chain(last).collect()
    }

    /// The result of the attempt that was sent last, if it has been judged.
    pub(crate) fn last_result<T>(&self, read: impl FnOnce(&ExchangeState) -> T) -> Option<T> {
        self.lock().last?.judged?;
        Some(read(&self.current()))
    }

    fn lock(&self) -> MutexGuard<'_, CallState> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Locked alone, or after the state.
    fn current(&self) -> MutexGuard<'_, ExchangeState> {
        self.0.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The result of an attempt as long as nothing else is known.
const fn succeeds(provider: &'static str) -> Classification {
    Classification::new(Outcome::success()).with_provider(provider)
}

impl SentAttempt {
    /// How long it waited to be admitted.
    pub(crate) fn queued(&self) -> Duration {
        self.admitted.saturating_duration_since(self.asked)
    }

    /// How long the call waited before it, since the attempt before ended.
    pub(crate) fn waited(&self) -> Duration {
        self.after.map_or(Duration::ZERO, |ended| self.asked.saturating_duration_since(ended))
    }

    /// From when it was sent until it was judged; `None` if it has not been.
    pub(crate) fn took(&self) -> Option<Duration> {
        Some(self.judged?.saturating_duration_since(self.sent))
    }
}

impl ExchangeRecord for CallRecord {
    fn current(&self) -> &Mutex<ExchangeState> {
        &self.current
    }
}
