//! The gates of an endpoint, and the one queue before them.

use std::task::Context;

use aplomb_circuit_breaker::{Circuit, Open, Why};
use aplomb_concurrency::{Saturated, Slots, Why as Taken};
use aplomb_core::{
    Both, BoxError, CallOptions, Door, Either, Permit, Queue, Refused, Stopped, Turned, TurnedBecause, Wait,
};
use aplomb_rate_limit::{Charge, Exceeded, Limit, Quotas};

/// The gates of an endpoint: its circuit, its quotas and, where it is asked for, its concurrency limit. They
/// decide in one step, all or nothing.
pub type Gates = Both<Circuit, Both<Quotas, Option<Slots>>>;

/// Leads every request to the one queue; a [`Charge`] in its extensions says what it costs.
#[derive(Clone, Debug)]
pub struct EndpointDoor {
    queue: Queue<Gates>,
}

impl EndpointDoor {
    pub(super) const fn new(queue: Queue<Gates>) -> Self {
        Self { queue }
    }
}

impl<B> Door<http::Request<B>> for EndpointDoor {
    type Gate = Gates;

    #[inline(always)]
    #[expect(
        clippy::inline_always,
        reason = "a permit is large, and made in its place instead of being moved"
    )]
    fn ask(
        &self,
        request: &http::Request<B>,
        options: &CallOptions,
        cx: &Context<'_>,
        permit: &mut Option<Permit<Gates>>,
    ) -> Option<Stopped<Gates>> {
        let charge = request.extensions().get::<Charge>().cloned().unwrap_or_default();
        self.queue.ask(((), (charge, ())), Wait::from(options), cx, permit)
    }

    fn refuse(&self, turned: Turned<Either<Why, Either<Limit, Taken>>>, options: &CallOptions) -> BoxError {
        let refused = |who, retry_after| {
            Refused::by(who)
                .with_retry_after(retry_after)
                .with_waited(turned.waited())
                .with_attempts(options.attempts(), options.last())
        };
        match (turned.why().copied(), turned.because()) {
            (Some(Either::First(why)), _) => {
                let retry_after = turned.retry_after().or(why.retry_after());
                Box::new(Open::new(why, refused("circuit breaker", retry_after)))
            }
            (Some(Either::Second(Either::First(limit))), _) => {
                Box::new(Exceeded::new(&turned.map(|_| limit), options))
            }
            (Some(Either::Second(Either::Second(taken))), _) => {
                Box::new(Saturated::new(&turned.map(|_| taken), options))
            }
            (None, TurnedBecause::Closed) => Box::new(refused("closed endpoint", None)),
            (None, _) => Box::new(refused("endpoint's queue", turned.retry_after())),
        }
    }
}
