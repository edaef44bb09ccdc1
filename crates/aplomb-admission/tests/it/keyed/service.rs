//! Calls of a service, each before the gate of its key.

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use aplomb_admission::{
    Admission, AdmissionConfig, KeyRefused, KeyedDoor, OnBodyEnd, OnHead, Queues, Rejected, Terms,
};
use aplomb_core::{BoxError, CallKey, CallOptions, HttpClassifier, LayerName, Rejection, find_in};
use tokio::time::Instant;
use tokio_test::{assert_pending, task};
use tower_service::Service;

use super::{S, begun, tallies};
use crate::gates::Tally;

/// A call asks for nothing but to pass.
#[derive(Clone)]
struct Pass;

impl<Req> Terms<Req> for Pass {
    type Gate = Tally;

    fn ask(&self, _: &Req, _: &CallOptions) {}

    fn refuse(&self, turned: Rejected<&'static str>, _: &CallOptions) -> BoxError {
        Box::new(Rejection::by(LayerName::Other("tally")).with_retry_after(turned.retry_after()))
    }

    fn refuse_key(&self, key: &Arc<str>, turned: Rejected<&'static str>, options: &CallOptions) -> BoxError {
        assert_eq!(&**key, "404");
        Terms::<Req>::refuse(self, turned, options)
    }
}

fn by_path(request: &http::Request<()>) -> u64 {
    request.uri().path()[1..].parse().unwrap_or(0)
}

type ByPath = KeyedDoor<u64, fn(&http::Request<()>) -> u64, Pass, Tally>;

fn plan<U>(queues: &Queues<u64, Tally>, until: U) -> Arc<AdmissionConfig<ByPath, HttpClassifier, U>> {
    let door = KeyedDoor::new(queues.clone(), by_path as fn(&http::Request<()>) -> u64, Pass);
    Arc::new(AdmissionConfig::new(door, HttpClassifier::new(), until))
}

fn get(key: u64) -> http::Request<()> {
    http::Request::get(format!("/{key}")).body(()).unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_service_asks_the_gate_of_the_requests_key_and_names_it_in_a_refusal() {
    let queues = tallies(2);
    let answers = crate::admission::Answers;
    let mut service = Admission::new(answers, plan(&queues, OnHead));
    service.call(get(200)).await.unwrap();
    service.call(get(503)).await.unwrap();
    assert_eq!(begun(&queues), BTreeMap::from([(200, (1, 1)), (503, (1, 1))]));
    let mut overridden = get(404);
    overridden.extensions_mut().insert(CallKey(200_u64));
    service.call(overridden).await.unwrap();
    assert_eq!(begun(&queues)[&200], (2, 2));

    let error = service.call(get(404)).await.err().unwrap();
    assert_eq!(find_in::<KeyRefused, _>(&error).unwrap().key(), "404");
    assert_eq!(find_in::<Rejection, _>(&error).unwrap().layer(), LayerName::Other("tally"));
    assert_eq!(error.to_string(), "refused for key 404: rejected by the tally");
}

#[tokio::test(start_paused = true)]
async fn a_call_dropped_or_panicking_at_any_point_leaves_its_key_as_it_was() {
    let queues = tallies(10);
    let mut service = Admission::new(crate::admission::Answers, plan(&queues, OnBodyEnd));
    let hang = || http::Request::get("/hang").body(()).unwrap();
    drop(service.call(hang()));
    assert!(queues.is_empty(), "nothing is made before it is polled");
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
    for (key, (begun, ended)) in begun(&queues) {
        assert_eq!(begun, ended, "{key}");
    }
    tokio::time::advance(2 * S).await;
    queues.forget_idle(Instant::now());
    assert!(queues.is_empty(), "nobody is stuck");
}
