//! Readies a service just before it is called.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use pin_project_lite::pin_project;
use tower_service::Service;

pin_project! {
    /// One call of a service: readies it, calls that very instance, waits for the answer.
    ///
    /// A layer that is always ready itself makes one of these when it has done its waiting, so that
    /// no readiness of the inner service is held meanwhile.
    pub(crate) struct Dispatch<S, Req>
    where
        S: Service<Req>,
    {
        #[pin]
        state: State<S, Req>,
    }
}

pin_project! {
    #[project = StateProj]
    enum State<S, Req>
    where
        S: Service<Req>,
    {
        Readying {
            service: S,
            request: Option<Req>,
        },
        Called {
            #[pin]
            answer: S::Future,
        },
    }
}

impl<S: Service<Req>, Req> Dispatch<S, Req> {
    /// One call of `service`, which need not be ready.
    pub(crate) const fn new(service: S, request: Req) -> Self {
        Self { state: State::Readying { service, request: Some(request) } }
    }

    /// Polls the call; `on_call` runs just before the request is handed over.
    pub(crate) fn poll_with(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        on_call: impl FnOnce(),
    ) -> Poll<Result<S::Response, S::Error>> {
        let mut state = self.project().state;
        // Readying → Called when the service is ready; ends here if it is finished.
        if let StateProj::Readying { service, request } = state.as_mut().project() {
            ready!(service.poll_ready(cx))?;
            if let Some(request) = request.take() {
                on_call();
                let answer = service.call(request);
                state.set(State::Called { answer });
            }
        }
        // Called → done.
        match state.project() {
            StateProj::Called { answer } => answer.poll(cx),
            StateProj::Readying { .. } => panic!("polled after the service had failed"),
        }
    }
}
