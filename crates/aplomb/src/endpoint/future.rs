//! The future of a call.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use aplomb_core::BoxError;
use bytes::Bytes;
use http_body::Body;
use pin_project_lite::pin_project;
use tokio::time::{Instant, Sleep, sleep_until};
use tower_service::Service;

use super::config::Setup;
use super::service::Stack;
use super::shared::{Running, Shared};
use super::{DeadlinePassed, EndpointBody};
use crate::{EndpointError, Report};

/// A call that has not begun.
pub(super) struct Start<S, A> {
    pub(super) request: http::Request<A>,
    pub(super) client: S,
    pub(super) setup: Arc<Setup>,
    pub(super) counts_tokens: bool,
    pub(super) began: Instant,
}

pin_project! {
    /// The future of an [`Endpoint`](crate::Endpoint)'s call.
    ///
    /// A call without a deadline has no timer of its own. Dropping it drops the attempt that is under way, or
    /// leaves the queue.
    pub struct EndpointFuture<S, A, B>
    where
        S: Service<http::Request<A>, Response = http::Response<B>>,
        S: Clone,
        S::Error: Into<BoxError>,
        A: Body,
        A: Clone,
        A: 'static,
        B: Body<Data = Bytes>,
        B::Error: Into<BoxError>,
    {
        #[pin]
        state: State<Start<S, A>, <Stack<S> as Service<http::Request<A>>>::Future>,
        report: Report,
        // What follows until the call has ended, its body included.
        running: Option<Running>,
    }
}

pin_project! {
    #[project = StateProj]
    enum State<T, F> {
        // Begins when it is first polled: `options.scope(service.call(request))` says only then what the
        // caller wants.
        Fresh { start: Option<T> },
        Called { #[pin] call: F, #[pin] alarm: Option<Sleep> },
    }
}

impl<S, A, B> EndpointFuture<S, A, B>
where
    S: Service<http::Request<A>, Response = http::Response<B>> + Clone,
    S::Error: Into<BoxError>,
    A: Body + Clone + 'static,
    B: Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    /// A call that arrives now.
    pub(super) fn begin(client: S, request: http::Request<A>, setup: Arc<Setup>, shared: &Shared) -> Self {
        let began = Instant::now();
        let report = Report::new(setup.reading.provider.name(), began);
        let counts_tokens = shared.tokens().is_set();
        let start = Start { request, client, setup, counts_tokens, began };
        Self {
            state: State::Fresh { start: Some(start) },
            report,
            running: Some(shared.begin()),
        }
    }
}

impl<S, A, B> Future for EndpointFuture<S, A, B>
where
    S: Service<http::Request<A>, Response = http::Response<B>> + Clone,
    S::Error: Into<BoxError>,
    A: Body + Clone + 'static,
    B: Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    type Output = Result<http::Response<EndpointBody<B>>, EndpointError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        let result = loop {
            match this.state.as_mut().project() {
                StateProj::Fresh { start } => {
                    let Some(start) = start.take() else {
                        panic!("polled after it was ready");
                    };
                    let (call, deadline) = start.begin(this.report);
                    this.state.set(State::Called { call, alarm: deadline.map(sleep_until) });
                }
                StateProj::Called { call, alarm } => match (call.poll(cx), alarm.as_pin_mut()) {
                    (Poll::Ready(result), _) => break result,
                    (Poll::Pending, None) => return Poll::Pending,
                    (Poll::Pending, Some(alarm)) => {
                        ready!(alarm.poll(cx));
                        break Err(DeadlinePassed::now(this.report).into());
                    }
                },
            }
        };
        // An attempt that a deadline has ended is gone, also where this future is kept.
        this.state.set(State::Fresh { start: None });
        let (report, running) = (this.report.clone(), this.running.take());
        report.ended();
        Poll::Ready(match result {
            Ok(mut response) => {
                response.extensions_mut().insert(report);
                Ok(response.map(|body| EndpointBody::new(body, running)))
            }
            Err(cause) => Err(EndpointError::new(cause, report)),
        })
    }
}

impl<S, A, B> fmt::Debug for EndpointFuture<S, A, B>
where
    S: Service<http::Request<A>, Response = http::Response<B>> + Clone,
    S::Error: Into<BoxError>,
    A: Body + Clone + 'static,
    B: Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EndpointFuture").field("report", &self.report).finish_non_exhaustive()
    }
}
