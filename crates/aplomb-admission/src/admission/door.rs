//! What leads to a queue.

use std::task::Context;

use crate::{Gate, Permit, Rejected, Stopped};
use aplomb_core::{BoxError, CallOptions};

/// Leads a request to its queue, and words the refusal if it is turned away.
pub trait Door<Req> {
    /// The gate behind the door.
    type Gate: Gate;

    /// What is done to a request when it has been let through, before the service is readied for it:
    /// [`Unprepared`] where nothing is.
    type Preparing: Future<Output = Result<Req, BoxError>>;

    /// Asks for `request` to be let through: chooses the queue and says what the call costs. As
    /// [`Queue::ask`](crate::Queue::ask), which puts the `permit` where it is to be kept.
    fn ask(
        &self,
        request: &Req,
        options: &CallOptions,
        cx: &Context<'_>,
        permit: &mut Option<Permit<Self::Gate>>,
    ) -> Option<Stopped<Self::Gate>>;

    /// The error of a call that was turned away.
    fn refuse(&self, turned: Rejected<<Self::Gate as Gate>::Reason>, options: &CallOptions) -> BoxError;

    /// The same where the request has a say in it. Unless written, the request is not looked at.
    fn refuse_request(
        &self,
        request: &Req,
        turned: Rejected<<Self::Gate as Gate>::Reason>,
        options: &CallOptions,
    ) -> BoxError {
        let _ = request;
        self.refuse(turned, options)
    }

    /// Whether a request has to be prepared. It has not, unless written.
    fn prepares(&self) -> bool {
        false
    }

    /// Begins to prepare a request that has been let through, where that [has](Self::prepares) to be done. Its
    /// failure is that of a call that was never sent.
    ///
    /// # Panics
    ///
    /// Panics unless written: nobody asks for it then.
    fn prepare(&self, request: Req) -> Self::Preparing {
        drop(request);
        panic!("there is nothing to prepare")
    }
}

/// The [`Preparing`](Door::Preparing) of who does not prepare anything: it is never made.
pub type Unprepared<Req> = std::future::Pending<Result<Req, BoxError>>;
