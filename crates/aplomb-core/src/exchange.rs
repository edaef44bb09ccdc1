//! What the one reader of the bytes has seen of an exchange.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::{Outcome, Usage};

/// A record of one attempt, shared by who reads its bytes and who has to know what they said.
///
/// The innermost layer puts it into the response's extensions, where [`HttpClassifier`] finds it; the
/// layers keep it and read it again when the body has ended. Clones share the record.
///
/// [`HttpClassifier`]: crate::HttpClassifier
#[derive(Clone, Debug)]
pub struct Exchange(Arc<Mutex<Record>>);

#[derive(Clone, Copy, Debug)]
struct Record {
    outcome: Outcome,
    usage: Option<Usage>,
    counted: Option<Usage>,
    whole: bool,
}

impl Exchange {
    /// A record that so far says `outcome`.
    #[must_use]
    pub fn new(outcome: Outcome) -> Self {
        Self(Arc::new(Mutex::new(Record { outcome, usage: None, counted: None, whole: false })))
    }

    /// What the attempt came to, as far as it has been read.
    pub fn outcome(&self) -> Outcome {
        self.lock().outcome
    }

    /// Changes what the attempt came to: an answer that began well may end badly.
    pub fn set_outcome(&self, outcome: Outcome) {
        self.lock().outcome = outcome;
    }

    /// Notes that all of the answer has been read: whoever goes away now has missed nothing.
    pub fn set_whole(&self) {
        self.lock().whole = true;
    }

    /// Whether all of the answer has been read.
    pub fn is_whole(&self) -> bool {
        self.lock().whole
    }

    /// What the answer consumed, as far as it has been reported.
    pub fn usage(&self) -> Option<Usage> {
        self.lock().usage
    }

    /// Adds what was reported to what had been reported before, and says what that comes to.
    pub fn add_usage(&self, usage: Usage) -> Usage {
        let mut record = self.lock();
        let usage = record.usage.unwrap_or_default().updated_by(usage);
        record.usage = Some(usage);
        usage
    }

    /// Sets what of the usage counts against quotas, where that is not all of it: providers weigh tokens.
    pub fn set_counted(&self, counted: Usage) {
        self.lock().counted = Some(counted);
    }

    /// What of the usage counts against quotas: all of it, unless set.
    pub fn counted(&self) -> Option<Usage> {
        let record = self.lock();
        record.counted.or(record.usage)
    }

    fn lock(&self) -> MutexGuard<'_, Record> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
