//! A circuit breaker: closed, with windows of many sizes, and open.

use std::time::Duration;

use aplomb_circuit_breaker::{CircuitBreakerLayer, Cooldown, Trip, Window};
use aplomb_core::{Exponential, Jitter};
use failsafe::futures::CircuitBreaker as _;
use failsafe::{Config, backoff, failure_policy};
use recloser::{AsyncRecloser, Recloser};
use tower::{Layer, Service, service_fn};
use tower_resilience_circuitbreaker::{CircuitBreakerLayer as TowerResilience, SlidingWindowType};

use super::retry::bare;
use crate::{Asked, Calls, Case, Down, Group, Peer, Plain, Request, over};

pub(super) const CLOSED: Group = Group {
    name: "breaker",
    about: "a closed circuit, with the defaults of each; a request without headers",
    cases: &[
        Case::new("bare", bare::<Plain>),
        Case::new("aplomb", closed),
        Case::new("failsafe-5-in-a-row", failsafe_in_a_row::<Peer>),
        Case::new("recloser", recloser::<Peer>),
        Case::new("failsafe-rate", failsafe_rate),
        Case::new("tower-resilience", tower_resilience::<Peer>),
    ],
};

pub(super) const WINDOW: Group = Group {
    name: "breaker-window",
    about: "a closed circuit that trips on a ratio of failures over so many calls, the window full",
    cases: &[
        Case::new("bare", bare::<Plain>),
        Case::new("aplomb-100", window::<100>).warm(100),
        Case::new("aplomb-10k", window::<10_000>).warm(10_000),
        Case::new("aplomb-1M", window::<1_000_000>).warm(1_000_000),
        Case::new("aplomb-time-100", window_of_time).warm(100),
        Case::new("aplomb-time-10k", window_of_time).warm(10_000),
        Case::new("aplomb-time-1M", window_of_time).warm(1_000_000),
        Case::new("recloser-100", recloser_of::<100>).warm(100),
        Case::new("recloser-1M", recloser_of::<1_000_000>).warm(1_000_000),
        Case::new("tower-resilience-100", count::<100>).warm(100),
        Case::new("tower-resilience-1M", count::<1_000_000>).warm(1_000_000),
        Case::new("tower-resilience-time-100", time).warm(95).renewed_after(10),
        Case::new("tower-resilience-time-1k", time).warm(950).renewed_after(100),
        Case::new("tower-resilience-time-10k", time).warm(9_950).renewed_after(100),
    ],
};

pub(super) const REFUSED: Group = Group {
    name: "breaker-open",
    about: "an open circuit that rejects the call, error included; beside a call that is answered",
    cases: &[
        Case::new("bare", bare::<Plain>),
        Case::new("aplomb", refused).refused(),
        Case::new("failsafe-5-in-a-row", failsafe_in_a_row::<Down>).refused(),
        Case::new("recloser", recloser::<Down>).warm(256).refused(),
        Case::new("tower-resilience", tower_resilience::<Down>).warm(256).refused(),
    ],
};

const HOUR: Duration = Duration::from_secs(3_600);
const MINUTE: Duration = Duration::from_secs(60);

fn closed() -> Box<dyn Calls> {
    over::<Plain, _, _>(CircuitBreakerLayer::new().layer(Peer))
}

fn window<const CALLS: u32>() -> Box<dyn Calls> {
    let trip = Trip::ratio(0.5, Window::calls(CALLS));
    over::<Plain, _, _>(CircuitBreakerLayer::new().trip(trip).layer(Peer))
}

/// The warm-up, which takes less than a minute, sets the number of calls in the window.
fn window_of_time() -> Box<dyn Calls> {
    let trip = Trip::ratio(0.5, Window::time(MINUTE));
    over::<Plain, _, _>(CircuitBreakerLayer::new().trip(trip).layer(Peer))
}

fn refused() -> Box<dyn Calls> {
    let cooldown = Cooldown::new(Exponential::new(HOUR).max(HOUR).jitter(Jitter::None));
    over::<Plain, _, _>(CircuitBreakerLayer::new().cooldown(cooldown).layer(Down))
}

fn failsafe_in_a_row<P: Asked>() -> Box<dyn Calls> {
    let policy = failure_policy::consecutive_failures(5, backoff::constant(HOUR));
    let breaker = Config::new().failure_policy(policy).build();
    over::<Plain, _, _>(service_fn(move |request: Request| breaker.call({ P::PEER }.call(request))))
}

fn failsafe_rate() -> Box<dyn Calls> {
    let breaker = Config::new().build();
    over::<Plain, _, _>(service_fn(move |request: Request| breaker.call(Peer.call(request))))
}

fn recloser<P: Asked>() -> Box<dyn Calls> {
    let breaker = AsyncRecloser::from(Recloser::custom().open_wait(HOUR).build());
    over::<Plain, _, _>(service_fn(move |request: Request| breaker.call({ P::PEER }.call(request))))
}

fn recloser_of<const CALLS: usize>() -> Box<dyn Calls> {
    let breaker = AsyncRecloser::from(Recloser::custom().closed_len(CALLS).build());
    over::<Plain, _, _>(service_fn(move |request: Request| breaker.call(Peer.call(request))))
}

fn tower_resilience<P: Asked>() -> Box<dyn Calls> {
    let layer = TowerResilience::builder().wait_duration_in_open(HOUR).build().expect("valid");
    over::<Plain, _, _>(layer.layer(P::PEER))
}

fn count<const CALLS: usize>() -> Box<dyn Calls> {
    let layer = TowerResilience::builder().sliding_window_size(CALLS).build().expect("valid");
    over::<Plain, _, _>(layer.layer(Peer))
}

fn time() -> Box<dyn Calls> {
    let layer = TowerResilience::builder()
        .sliding_window_type(SlidingWindowType::TimeBased)
        .sliding_window_duration(MINUTE)
        .minimum_number_of_calls(20)
        .build()
        .expect("valid");
    over::<Plain, _, _>(layer.layer(Peer))
}
