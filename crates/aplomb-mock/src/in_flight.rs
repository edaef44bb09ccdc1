//! A request that was accepted and not yet answered.

use std::sync::Arc;

use crate::fault::Fault;
use crate::ledger::{Charged, End};
use crate::shared::Shared;

/// Counts as one in flight until dropped. If it is dropped before [`finish`](Self::finish), its client went away.
#[derive(Debug)]
pub(crate) struct InFlight {
    shared: Arc<Shared>,
    key: u64,
    fault: Option<Fault>,
    charged: Charged,
    produced: u64,
    finished: bool,
}

impl InFlight {
    pub(crate) fn new(shared: &Arc<Shared>, key: u64, fault: Option<Fault>, charged: Charged) -> Self {
        Self { shared: Arc::clone(shared), key, fault, charged, produced: 0, finished: false }
    }

    /// Counts more words of the answer.
    pub(crate) fn produced(&mut self, words: usize) {
        let tokens = u64::try_from(words).unwrap_or(u64::MAX);
        self.produced = self.produced.saturating_add(tokens);
        self.shared.ledger().produced(&self.shared.config, &self.charged, tokens);
    }

    /// Everything is sent.
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
        let mut ledger = self.shared.ledger();
        ledger.settle(&self.shared.config, &self.charged, self.produced);
        ledger.end(self.key, end);
    }
}
