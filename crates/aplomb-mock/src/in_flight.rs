//! A request that was accepted and is not answered yet.

use std::sync::Arc;

use crate::Fault;
use crate::mock::Shared;

/// Counts as one in flight until dropped. Dropped before [`finish`](Self::finish), it is one whose client went away.
#[derive(Debug)]
pub(crate) struct InFlight {
    shared: Arc<Shared>,
    key: u64,
    fault: Option<Fault>,
    finished: bool,
}

/// How a request in flight ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// The whole right answer was handed over.
    Answered,
    /// It ended as planned: badly.
    Spoiled,
    /// Nobody was there to be answered.
    Abandoned,
}

impl InFlight {
    pub(crate) fn new(shared: &Arc<Shared>, key: u64, fault: Option<Fault>) -> Self {
        Self { shared: Arc::clone(shared), key, fault, finished: false }
    }

    /// All that was to be sent is sent.
    pub(crate) fn finish(mut self) {
        self.finished = true;
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        let end = match self.fault {
            Some(fault) if !fault.spares_the_answer() => End::Spoiled,
            _ if self.finished => End::Answered,
            _ => End::Abandoned,
        };
        self.shared.ledger().end(self.key, end);
    }
}
