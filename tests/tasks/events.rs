//! Events, counted.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use aplomb::circuit_breaker::{CircuitBreakerLayer, Trip};
use aplomb::provider::OpenAi;
use aplomb::{BoxError, EndpointLayer, Event, EventKind, Policy};
use aplomb_mock::{Fault, Mock, Plan};
use tower::{Layer, ServiceExt};

use crate::chat;

#[derive(Default)]
struct Counters {
    retries: AtomicUsize,
    pauses: AtomicUsize,
    transitions: AtomicUsize,
    rejections: AtomicUsize,
}

impl Counters {
    fn count(&self, event: &Event) {
        let counter = match event.kind() {
            EventKind::Retrying { .. } => &self.retries,
            EventKind::Paused { .. } => &self.pauses,
            EventKind::CircuitChanged { .. } => &self.transitions,
            EventKind::Rejected { .. } => &self.rejections,
            _ => return,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    fn all(&self) -> [usize; 4] {
        [&self.retries, &self.pauses, &self.transitions, &self.rejections]
            .map(|counter| counter.load(Ordering::Relaxed))
    }
}

#[tokio::test(start_paused = true)]
async fn a_layer_reports_what_it_does() -> Result<(), BoxError> {
    let counters = Arc::new(Counters::default());
    let observed = Arc::clone(&counters);
    let client = CircuitBreakerLayer::new()
        .trip(Trip::consecutive(1))
        .observer(move |event: &Event| observed.count(event))
        .layer(Mock::builder().plan(Plan::script([Some(Fault::Unavailable)])).build());

    assert_eq!(client.clone().oneshot(chat("Hello!")).await?.status(), 503);
    client.oneshot(chat("Hello!")).await.unwrap_err();
    assert_eq!(counters.all(), [0, 0, 1, 1]);
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_reports_what_all_its_layers_do() -> Result<(), BoxError> {
    let counters = Arc::new(Counters::default());
    let observed = Arc::clone(&counters);
    let layer = EndpointLayer::with_policy(OpenAi, Policy::new().fail_fast())?
        .observer(move |event: &Event| observed.count(event));
    let plan = Plan::script([Some(Fault::Unavailable), Some(Fault::Throttled)]);
    let endpoint = layer.layer(Mock::builder().plan(plan).build());

    assert_eq!(endpoint.clone().oneshot(chat("Hello!")).await?.status(), 200);
    assert_eq!(counters.all(), [2, 1, 0, 0]);

    layer.handle().force_open();
    endpoint.oneshot(chat("Hello!")).await.unwrap_err();
    assert_eq!(counters.all(), [2, 1, 1, 1]);
    Ok(())
}
