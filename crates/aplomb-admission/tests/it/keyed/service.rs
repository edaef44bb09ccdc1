//! Calls of a service, each before the gate of its key.

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use aplomb_admission::{Admission, AdmissionConfig, Entries, OnBodyEnd, OnHead};
use aplomb_core::{CallKey, HttpClassifier};
use tokio::time::Instant;
use tokio_test::{assert_pending, task};
use tower_service::Service;

use super::{S, acquire, begun, keys, tallies};
use crate::admission::{Answers, Turnstile};
use crate::gates::Tally;

fn config<U>(
    entries: &Entries<Tally>,
    completion: U,
) -> Arc<AdmissionConfig<Turnstile<Tally>, HttpClassifier, U>> {
    Arc::new(AdmissionConfig::new(Turnstile(entries.clone()), HttpClassifier::new(), completion))
}

fn get(key: u64) -> http::Request<()> {
    http::Request::get(format!("/{key}")).body(()).unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_service_asks_the_gate_of_the_requests_key_and_names_it_in_a_rejection() {
    let entries = tallies(2);
    let mut service = Admission::new(Answers, config(&entries, OnHead));
    service.call(get(200)).await.unwrap();
    service.call(get(503)).await.unwrap();
    assert_eq!(begun(&entries), BTreeMap::from([(200, (1, 1)), (503, (1, 1))]));
    let mut overridden = get(404);
    overridden.extensions_mut().insert(CallKey(200_u64));
    service.call(overridden).await.unwrap();
    assert_eq!(begun(&entries)[&200], (2, 2));

    let _held = (acquire(&entries, 200).await.unwrap(), acquire(&entries, 503).await.unwrap());
    let error = service.call(get(404)).await.err().unwrap();
    assert_eq!(error.to_string(), "rejected by the turnstile, key 404");
}

#[tokio::test(start_paused = true)]
async fn a_call_dropped_or_panicking_at_any_point_leaves_its_key_as_it_was() {
    let entries = tallies(10);
    let mut service = Admission::new(Answers, config(&entries, OnBodyEnd));
    let hang = || http::Request::get("/hang").body(()).unwrap();
    drop(service.call(hang()));
    assert!(keys(&entries) == 0, "nothing is made before it is polled");
    let mut calls: Vec<_> = (0..2).map(|_| task::spawn(service.call(hang()))).collect();
    for call in &mut calls {
        assert_pending!(call.poll());
    }
    let mut waiting = task::spawn(service.call(hang()));
    assert_pending!(waiting.poll());
    drop(waiting);
    drop(calls);
    let answered = service.call(get(200)).await.unwrap();
    drop(answered);
    let mut panics = task::spawn(service.call(http::Request::get("/panic").body(()).unwrap()));
    assert!(std::panic::catch_unwind(AssertUnwindSafe(|| panics.poll())).is_err());
    drop(panics);
    for (key, (begun, ended)) in begun(&entries) {
        assert_eq!(begun, ended, "{key}");
    }
    tokio::time::advance(2 * S).await;
    entries.evict_fresh(Instant::now());
    assert!(keys(&entries) == 0, "nobody is stuck");
}
