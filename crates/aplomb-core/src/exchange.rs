//! The shared record of one attempt.

use std::any::Any;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use http::StatusCode;

use crate::{Classification, Outcome, Usage};

/// The record of one attempt, shared by the layer that reads its response body and the layers that need the
/// result.
///
/// The innermost layer puts it into the response's extensions, where [`HttpClassifier`] finds it. Layers keep it
/// and read it again when the body has ended. Clones share the record.
///
/// [`HttpClassifier`]: crate::HttpClassifier
#[derive(Clone)]
pub struct Exchange {
    record: Arc<dyn ExchangeRecord>,
    attempt: u32,
}

/// Stores the state of an exchange: a record of its own, or that of a whole call.
#[doc(hidden)]
pub trait ExchangeRecord: Any + Send + Sync {
    /// The state of the attempt that was sent last.
    fn current(&self) -> &Mutex<ExchangeState>;
}

/// The result of one attempt, as far as it is known.
#[doc(hidden)]
#[derive(Clone, Debug)]
pub struct ExchangeState {
    attempt: u32,
    result: Classification,
    usage: Option<Usage>,
    counted: Option<Usage>,
    is_whole: bool,
}

impl ExchangeState {
    /// The attempt with this number, and its result so far.
    #[must_use]
    pub const fn new(attempt: u32, result: Classification) -> Self {
        Self { attempt, result, usage: None, counted: None, is_whole: false }
    }

    /// Makes a state in which nothing has been written that of the first attempt.
    pub const fn begin(&mut self, attempt: u32) {
        self.attempt = attempt;
    }

    /// The result so far.
    pub const fn result(&self) -> &Classification {
        &self.result
    }

    /// Changes the outcome.
    pub fn set_outcome(&mut self, outcome: Outcome) {
        self.result.set_outcome(outcome);
    }

    /// The usage reported so far.
    #[must_use]
    pub const fn usage(&self) -> Option<Usage> {
        self.usage
    }
}

impl ExchangeRecord for Mutex<ExchangeState> {
    fn current(&self) -> &Self {
        self
    }
}

impl Exchange {
    /// A record with this outcome so far.
    #[must_use]
    pub fn new(outcome: Outcome) -> Self {
        Self { record: Arc::new(Mutex::new(ExchangeState::new(1, outcome.into()))), attempt: 1 }
    }

    /// An attempt within the record of a call.
    #[doc(hidden)]
    #[must_use]
    pub fn within(record: Arc<dyn ExchangeRecord>, attempt: u32) -> Self {
        Self { record, attempt }
    }

    /// The record of the call that this attempt belongs to, if it is an `R`.
    #[doc(hidden)]
    #[must_use]
    pub fn record<R: ExchangeRecord>(&self) -> Option<Arc<R>> {
        let record: Arc<dyn Any + Send + Sync> = Arc::clone(&self.record) as _;
        record.downcast().ok()
    }

    /// The outcome as far as it is known.
    pub fn outcome(&self) -> Outcome {
        self.read(|state| state.result.outcome()).unwrap_or(Outcome::local())
    }

    /// Returns whether the outcome is a success, as far as it is known.
    pub(crate) fn is_success(&self) -> bool {
        self.read(|state| state.result.is_success()).unwrap_or_default()
    }

    /// The outcome, the usage that counts against quotas, and whether the response has been read to its end marker or to
    /// an error.
    pub(crate) fn so_far(&self) -> (Outcome, Option<Usage>, bool) {
        let so_far = self.read(|state| {
            let is_final = state.is_whole || !state.result.is_success();
            (state.result.outcome(), state.counted.or(state.usage), is_final)
        });
        so_far.unwrap_or((Outcome::local(), None, true))
    }

    /// Changes the outcome: a response that began well may end badly.
    pub fn set_outcome(&self, outcome: Outcome) {
        self.read(|state| state.result.set_outcome(outcome));
    }

    /// The response has this status. The rest of the result stays.
    pub fn set_status(&self, status: StatusCode) {
        self.read(|state| state.result.set_status(status));
    }

    /// Sets the result, with all its details. The outcome of `result` is kept, not its exchange.
    pub fn set_result(&self, result: Classification) {
        let result = result.settled();
        self.read(|state| state.result = result);
    }

    /// The result with all its details. Its outcome stays that of this exchange.
    pub fn result(&self) -> Classification {
        match self.read(|state| state.result.clone()) {
            Some(result) => result.following(self.clone()),
            None => Classification::new(Outcome::local()),
        }
    }

    /// Notes that the whole response was read: a caller that goes away now misses nothing.
    pub fn set_whole(&self) {
        self.read(|state| state.is_whole = true);
    }

    /// Returns whether the whole response was read.
    pub fn is_whole(&self) -> bool {
        self.read(|state| state.is_whole).unwrap_or_default()
    }

    /// The usage reported so far.
    pub fn usage(&self) -> Option<Usage> {
        self.read(|state| state.usage).flatten()
    }

    /// Adds reported usage to what was reported before, and returns the sum.
    pub fn add_usage(&self, usage: Usage) -> Usage {
        self.read(|state| *state.usage.insert(state.usage.unwrap_or_default().updated_by(usage)))
            .unwrap_or(usage)
    }

    /// Sets the part of the usage that counts against quotas. Default: all of it. Some providers weigh tokens.
    pub fn set_counted(&self, counted: Usage) {
        self.read(|state| state.counted = Some(counted));
    }

    /// The part of the usage that counts against quotas.
    pub fn counted(&self) -> Option<Usage> {
        self.read(|state| state.counted.or(state.usage)).flatten()
    }

    /// Accesses the state, unless another attempt has taken the place of this one: then nobody reads it any more.
    #[inline]
    fn read<T>(&self, read: impl FnOnce(&mut ExchangeState) -> T) -> Option<T> {
        let mut state = self.record.current().lock().unwrap_or_else(PoisonError::into_inner);
        (state.attempt == self.attempt).then(|| read(&mut state))
    }
}

impl fmt::Debug for Exchange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Exchange")
            .field("result", &self.read(|state| state.result.clone()))
            .field("usage", &self.usage())
            .field("is_whole", &self.is_whole())
            .finish_non_exhaustive()
    }
}
