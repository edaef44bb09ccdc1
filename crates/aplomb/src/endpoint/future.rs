//! The future of a call.

use std::fmt;
use std::mem;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use http_body::Body;
use pin_project_lite::pin_project;
use tokio::time::{Sleep, sleep_until};
use tower_service::Service;

use super::attempt_error::AttemptError;
use super::attempt_request::AttemptRequest;
use super::body::EndpointBody;
use super::call_stack::CallStack;
use super::deadline::DeadlinePassed;
use super::in_progress::InProgress;
use crate::context::CallContext;
use crate::{EndpointError, HttpClient, Report};

pin_project! {
    /// The future of an [`Endpoint`](crate::Endpoint)'s call.
    ///
    /// A call without a deadline has no timer of its own. Dropping it drops the attempt in progress, or leaves the
    /// queue.
    pub struct EndpointFuture<S, A>
    where
        S: HttpClient<A>,
        A: Body,
        A: Clone,
        A: 'static,
    {
        #[pin]
        attempts: Option<<CallStack<S> as Service<AttemptRequest<A>>>::Future>,
        // At the deadline. Set when the call has to wait for the first time.
        #[pin]
        deadline: Option<Sleep>,
        stage: Stage,
        call: CallContext,
        // Counts the call until it has ended, its body included.
        in_progress: Option<InProgress>,
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Fresh,
    Polled,
    // The timer is set, if there is a deadline.
    Waiting,
}

impl<S, A> EndpointFuture<S, A>
where
    S: HttpClient<A>,
    A: Body + Clone + 'static,
{
    #[inline]
    pub(super) const fn new(
        attempts: <CallStack<S> as Service<AttemptRequest<A>>>::Future,
        call: CallContext,
        in_progress: InProgress,
    ) -> Self {
        Self {
            attempts: Some(attempts),
            deadline: None,
            stage: Stage::Fresh,
            call,
            in_progress: Some(in_progress),
        }
    }
}

impl<S, A> Future for EndpointFuture<S, A>
where
    S: HttpClient<A>,
    A: Body + Clone + 'static,
{
    type Output = Result<http::Response<EndpointBody<S::Body>>, EndpointError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        let Some(mut attempts) = this.attempts.as_mut().as_pin_mut() else {
            panic!("polled after it was ready");
        };
        if *this.stage == Stage::Fresh {
            *this.stage = Stage::Polled;
            this.call.take_over_task_local();
        }
        let tenant = this.in_progress.as_mut().and_then(|call| call.tenant.as_mut());
        let mut polled = match tenant.map(|tenant| tenant.poll_admitted(cx)) {
            None | Some(Poll::Ready(Ok(()))) => attempts.as_mut().poll(cx),
            Some(Poll::Ready(Err(limited))) => Poll::Ready(Err(limited)),
            Some(Poll::Pending) => Poll::Pending,
        };
        if polled.is_pending() {
            if mem::replace(this.stage, Stage::Waiting) != Stage::Waiting {
                this.deadline.set(this.call.deadline().map(sleep_until));
            }
            let Some(deadline) = this.deadline.as_pin_mut() else {
                return Poll::Pending;
            };
            ready!(deadline.poll(cx));
            // Drops the attempt, even if this future is kept.
            this.attempts.set(None);
            polled = Poll::Ready(Err(DeadlinePassed::now(this.call).into()));
        }
        this.call.ended();
        let in_progress = this.in_progress.take();
        // In place: each move of a response costs.
        if let Poll::Ready(Ok(response)) = &mut polled {
            response.body_mut().follow(in_progress);
        }
        polled
            .map_err(|cause| EndpointError::new(AttemptError::unwrap(cause), Report::new(this.call.clone())))
    }
}

impl<S, A> fmt::Debug for EndpointFuture<S, A>
where
    S: HttpClient<A>,
    A: Body + Clone + 'static,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EndpointFuture")
            .field("report", &Report::new(self.call.clone()))
            .finish_non_exhaustive()
    }
}
