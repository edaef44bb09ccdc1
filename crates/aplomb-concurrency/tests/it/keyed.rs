//! A limit for each key.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use aplomb_admission::{Closing, RejectReason};
use aplomb_concurrency::{
    Adaptive, AtCapacity, ConcurrencyLimit, ConcurrencyLimitLayer, ConcurrencyLimiter, Limit, Slots,
};
use aplomb_core::{
    CallKey, CallOptions, ConcurrencyCause, Event, EventKind, KeyLabel, LayerName, Outcome, Rejection,
    RequestView, find_in,
};
use http_body_util::BodyExt;
use tokio::time::advance;
use tokio_test::task::{Spawn, spawn};
use tokio_test::{assert_pending, assert_ready, assert_ready_err, assert_ready_ok};
use tower::util::Oneshot;
use tower::{Layer, ServiceExt};
use tower_test::mock::{self, Mock, SendResponse};

use crate::support::{Req, Res, SECOND, response, stream};

type Host = String;
type Service = ConcurrencyLimit<Mock<Req, Res>>;
type Call = Spawn<Oneshot<Service, Req>>;

/// A peer for every host, behind one limit for each.
struct Stage {
    service: Service,
    peer: mock::Handle<Req, Res>,
    limiter: ConcurrencyLimiter,
}

fn host(request: &RequestView<'_>) -> Host {
    request.host().unwrap_or_default().to_owned()
}

/// A limit for each host, whose name is public.
fn by_host<L: Into<Slots>>(
    max_keys: usize,
    limit_of: impl Fn(&Host) -> L + Send + Sync + 'static,
) -> ConcurrencyLimitLayer {
    ConcurrencyLimitLayer::new(1).by_public_key_with(host, limit_of).max_keys(max_keys)
}

fn get(host: &str) -> Req {
    Req::get(format!("https://{host}/")).body(()).unwrap()
}

impl Stage {
    fn new(max_keys: usize, limit: impl Into<Limit>) -> Self {
        let limit = limit.into();
        Self::with(&by_host(max_keys, move |_| limit))
    }

    fn with(layer: &ConcurrencyLimitLayer) -> Self {
        let (service, peer) = mock::pair();
        Self { service: layer.layer(service), peer, limiter: layer.limiter() }
    }

    fn call(&self, request: Req) -> Call {
        spawn(self.service.clone().oneshot(request))
    }

    /// A call that has reached the peer.
    async fn sent(&mut self, host: &str) -> (Call, SendResponse<Res>) {
        let mut call = self.call(get(host));
        assert_pending!(call.poll());
        (call, self.peer.next_request().await.unwrap().1)
    }

    /// This many calls at once, which end with this status.
    async fn burst(&mut self, host: &str, calls: usize, status: u16) {
        let mut sent = Vec::new();
        for _ in 0..calls {
            sent.push(self.sent(host).await);
        }
        for (mut call, send) in sent {
            send.send_response(response(status));
            assert_ready_ok!(call.poll());
        }
    }

    fn limit(&self, host: &str) -> Option<usize> {
        self.limiter.snapshot_of(&host.to_owned()).map(|now| now.limit())
    }

    /// In flight, abandoned, waiting.
    fn counts(&self, host: &str) -> (usize, usize, usize) {
        let now = self.limiter.snapshot_of(&host.to_owned()).unwrap();
        (now.in_flight(), now.abandoned(), now.waiting())
    }
}

#[tokio::test(start_paused = true)]
async fn two_hosts_do_not_share_a_limit_and_one_hosts_calls_do() {
    let mut stage = Stage::new(10, 1);
    let (mut first, send) = stage.sent("a.example").await;
    let mut waits = stage.call(get("a.example"));
    assert_pending!(waits.poll());
    let (_other, _send) = stage.sent("b.example").await;
    assert_eq!((stage.counts("a.example"), stage.counts("b.example")), ((1, 0, 1), (1, 0, 0)));
    // The call's own key takes precedence.
    let mut overridden = get("c.example");
    overridden.extensions_mut().insert(CallKey("b.example".to_owned()));
    let mut behind = stage.call(overridden);
    assert_pending!(behind.poll());
    assert_eq!((stage.counts("b.example"), stage.limiter.keys().unwrap()), ((1, 0, 1), 2));
    send.send_response(response(200));
    assert_ready_ok!(first.poll());
    assert!(waits.is_woken() && !behind.is_woken());
}

#[tokio::test(start_paused = true)]
async fn a_refusal_carries_its_key() {
    let mut stage = Stage::new(10, 1);
    stage.limiter.set_queue_limits(|limits| limits.max_wait(Duration::ZERO));
    let (_call, _send) = stage.sent("a.example").await;
    let mut again = get("a.example");
    again.extensions_mut().insert(CallOptions::new().with_attempts(2, Outcome::transient()));
    let error = assert_ready_err!(stage.call(again).poll());
    let at_capacity = find_in::<AtCapacity, _>(&error).unwrap();
    assert_eq!(at_capacity.key().unwrap().to_string(), "a.example");
    assert_eq!((at_capacity.limit(), at_capacity.in_flight()), (Some(1), Some(1)));
    assert_eq!(
        at_capacity.to_string(),
        "concurrency limit: the call would wait too long, key a.example (1 of 1 in flight)"
    );
    let refused = find_in::<Rejection, _>(&error).unwrap();
    assert_eq!((refused.layer(), refused.attempts()), (LayerName::ConcurrencyLimit, 2));
}

#[tokio::test(start_paused = true)]
async fn a_limit_that_was_learned_survives_any_number_of_other_keys() {
    let mut stage = Stage::new(10_000, Adaptive::new());
    stage.burst("a", 4, 200).await;
    assert_eq!(stage.limit("a"), Some(7));
    stage.burst("a", 7, 200).await;
    assert_eq!(stage.limit("a"), Some(12));
    stage.burst("a", 1, 503).await;
    assert_eq!(stage.limit("a"), Some(9));
    stage.limiter.forget_idle();
    for stranger in 0..2_000 {
        stage.burst(&format!("{stranger}"), 1, 200).await;
    }
    let now = stage.limiter.snapshot_of(&"a".to_owned()).unwrap();
    let change = now.last_change().unwrap();
    assert_eq!((now.limit(), change.from(), change.cause()), (9, 12, ConcurrencyCause::Overload));
    // Nine go at once, and the known ceiling is approached; slow start would leap beyond it.
    for _ in 0..5 {
        stage.burst("a", 9, 200).await;
    }
    assert_eq!(stage.limit("a"), Some(10));

    // It is evicted after an hour without use.
    stage.limiter.forget_idle();
    advance(3_599 * SECOND).await;
    stage.limiter.forget_idle();
    assert_eq!((stage.limiter.keys().unwrap(), stage.limit("a")), (1, Some(10)));
    advance(SECOND).await;
    assert_eq!(stage.limiter.forget_idle(), 1);
    assert_eq!((stage.limiter.keys().unwrap(), stage.limit("a")), (0, None));
}

#[tokio::test(start_paused = true)]
async fn keys_at_their_initial_limit_are_forgotten_and_the_count_falls() {
    let layer = ConcurrencyLimitLayer::new(Adaptive::new()).by_key(|_: &RequestView<'_>| 0_u64);
    let limiter = layer.limiter();
    let call = async |key: u64| {
        let permit = limiter.of(&key).unwrap().acquire(&CallOptions::new()).await.unwrap();
        permit.end(Outcome::success());
    };
    let mut most = 0;
    for key in 0..20_000 {
        call(key).await;
        most = most.max(limiter.keys().unwrap());
    }
    assert!(most < 2_000, "{most} keys at once");
    for _ in 0..20_000 {
        call(0).await;
    }
    assert!(limiter.keys().unwrap() < 50, "{} keys", limiter.keys().unwrap());
    limiter.forget_idle();
    assert_eq!(limiter.keys().unwrap(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_full_map_refuses_typed_and_makes_room_of_what_is_not_busy() {
    let (service, mut peer) = mock::pair::<Req, Res>();
    let layer = ConcurrencyLimitLayer::new(Adaptive::new().initial(1)).by_account().max_keys(2);
    let (limiter, service) = (layer.limiter(), layer.layer(service));
    let call = |tenant: &str| {
        let mut request = get("api.example.com");
        request.headers_mut().insert("authorization", format!("Bearer {tenant}").parse().unwrap());
        spawn(service.clone().oneshot(request))
    };
    let (mut learns, mut hangs) = (call("a"), call("b"));
    assert_pending!(learns.poll());
    assert_pending!(hangs.poll());
    let error = assert_ready_err!(call("sk-secret").poll());
    let at_capacity = find_in::<AtCapacity, _>(&error).unwrap();
    assert_eq!((at_capacity.reject_reason(), at_capacity.limit()), (RejectReason::TooManyKeys, None));
    assert_eq!(find_in::<Rejection, _>(&error).unwrap().layer(), LayerName::ConcurrencyLimit);
    assert!(at_capacity.key().unwrap().to_string().starts_with("api.example.com:443 credential #"));
    assert!(!format!("{error:?} {at_capacity}").contains("secret"), "{error:?}");
    assert_eq!(limiter.keys(), Some(2));

    // The learned limit of a makes room; b is in flight, and after its call is dropped it stays in use for as long again.
    peer.next_request().await.unwrap().1.send_response(response(200));
    assert_ready_ok!(learns.poll());
    drop(learns);
    let _sent = peer.next_request().await.unwrap();
    advance(3 * SECOND).await;
    let mut c = call("c");
    assert_pending!(c.poll());
    drop(hangs);
    let error = assert_ready_err!(call("d").poll());
    assert_eq!(find_in::<AtCapacity, _>(&error).unwrap().reject_reason(), RejectReason::TooManyKeys);
    advance(3 * SECOND).await;
    assert_pending!(call("d").poll());
}

#[tokio::test(start_paused = true)]
async fn the_handle_shows_each_key() {
    let layer = by_host(10, |host: &Host| match host.as_str() {
        "fixed" => Slots::from(2),
        "patient" => {
            let mut slots = Slots::from(Adaptive::new().initial(1));
            slots.set_abandoned(Duration::ZERO);
            slots
        }
        _ => Adaptive::new().into(),
    });
    let mut stage = Stage::with(&layer);
    let limiter = layer.limiter();
    assert_eq!(
        (limiter.snapshot_of(&"fixed".to_owned()), limiter.keys().unwrap()),
        (None, 0),
        "looking makes no key"
    );
    let _calls = [stage.sent("fixed").await, stage.sent("fixed").await];
    let mut waits = stage.call(get("fixed"));
    assert_pending!(waits.poll());
    stage.burst("a", 4, 200).await;
    let (patient, _send) = stage.sent("patient").await;
    advance(SECOND).await;
    drop(patient);
    limiter.forget_idle();
    let mut all: Vec<_> = limiter
        .snapshots()
        .into_iter()
        .map(|(key, now)| {
            let change = now.last_change().map(|change| change.to_string());
            (key.unwrap().to_string(), now.limit(), now.in_flight(), now.waiting(), change)
        })
        .collect();
    all.sort();
    let change = Some("limit 6 → 7: slow start".to_owned());
    assert_eq!(
        all,
        [
            ("a".to_owned(), 7, 0, 0, change),
            ("fixed".to_owned(), 2, 2, 1, None)
        ]
    );

    limiter.close(Closing::Fail);
    let error = assert_ready!(waits.poll()).unwrap_err();
    assert_eq!(find_in::<AtCapacity, _>(&error).unwrap().reject_reason(), RejectReason::Closed);
    let new = limiter.of(&"new".to_owned()).unwrap();
    let error = new.acquire(&CallOptions::new()).await.unwrap_err();
    assert_eq!(
        (error.reject_reason(), error.key()),
        (RejectReason::Closed, Some(&KeyLabel::public("new")))
    );
}

#[tokio::test(start_paused = true)]
async fn each_change_is_told_once_with_its_key_and_outside_of_locks() {
    let told = Arc::new(Mutex::new(Vec::new()));
    let inside: Arc<OnceLock<ConcurrencyLimiter>> = Arc::default();
    let (telling, reading) = (Arc::clone(&told), Arc::clone(&inside));
    let observer = move |event: &Event| {
        let EventKind::ConcurrencyChanged { from, to, cause, .. } = event.kind() else {
            panic!("{event}");
        };
        let key = event.key().unwrap().to_string();
        // An observer may look at any key, including its own.
        let limiter = reading.get().unwrap();
        let change = limiter.snapshot_of(&key).unwrap().last_change().unwrap();
        assert_eq!((change.from(), change.to()), (*from, *to));
        assert_eq!(Some(limiter.snapshots().len()), limiter.keys());
        telling.lock().unwrap().push((key, *from, *to, *cause));
    };
    let layer = by_host(10, |_: &Host| Adaptive::new().initial(2)).observer(observer);
    inside.set(layer.limiter()).unwrap();
    let mut stage = Stage::with(&layer);
    stage.burst("a", 2, 200).await;
    stage.burst("b", 1, 503).await;
    stage.limiter.forget_idle();
    stage.burst("a", 1, 200).await;
    let a = |from, to| ("a".to_owned(), from, to, ConcurrencyCause::SlowStart);
    assert_eq!(
        *told.lock().unwrap(),
        [
            a(2, 3),
            a(3, 4),
            ("b".to_owned(), 2, 1, ConcurrencyCause::Overload)
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn a_call_dropped_at_any_point_gives_its_place_back_to_its_own_key() {
    let mut stage = Stage::new(10, 1);
    drop(stage.call(get("a")));
    assert_eq!(stage.limiter.keys().unwrap(), 0, "nothing is made before it is polled");

    stage.peer.allow(0);
    let mut unready = stage.call(get("a"));
    assert_pending!(unready.poll());
    assert_eq!((stage.counts("a"), stage.limiter.forget_idle()), ((1, 0, 0), 0), "it is in use");
    drop(unready);
    assert_eq!(stage.counts("a"), (0, 0, 0));
    stage.peer.allow(99);

    let (first, send) = stage.sent("a").await;
    let mut waits = stage.call(get("a"));
    assert_pending!(waits.poll());
    drop(waits);
    assert_eq!(stage.counts("a"), (1, 0, 0));
    let (mut let_through, mut behind) = (stage.call(get("a")), stage.call(get("a")));
    assert_pending!(let_through.poll());
    assert_pending!(behind.poll());
    drop((first, send));
    assert!(let_through.is_woken() && !behind.is_woken());
    drop(let_through);
    assert!(behind.is_woken());
    drop(behind);
    assert_eq!(stage.counts("a"), (0, 0, 0));

    // Before the first byte, and in the middle of the body.
    for amid in [false, true] {
        let (mut answered, send) = stage.sent("a").await;
        let (body, answer) = stream();
        send.send_response(answer);
        let mut answer = assert_ready_ok!(answered.poll()).into_body();
        drop(answered);
        assert_eq!(stage.limiter.forget_idle(), 0, "its body is being read");
        if amid {
            body.send(Ok("data: once")).unwrap();
            assert!(answer.frame().await.unwrap().is_ok());
        }
        drop(answer);
        assert_eq!(stage.counts("a"), (0, 0, 0));
    }
    assert_eq!((stage.limiter.forget_idle(), stage.limiter.keys().unwrap()), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_abandoned_work_of_its_key_is_let_through_when_that_is_over() {
    let mut stage = Stage::new(10, Adaptive::new().initial(1));
    let (call, _send) = stage.sent("a").await;
    advance(3 * SECOND).await;
    drop(call);
    assert_eq!((stage.counts("a"), stage.limiter.forget_idle()), ((0, 1, 0), 0), "it is busy");
    let mut waits = stage.call(get("a"));
    assert_pending!(waits.poll());
    advance(2_999 * SECOND / 1_000).await;
    assert!(!waits.is_woken());
    advance(2 * SECOND / 1_000).await;
    assert!(waits.is_woken());
    drop(waits);
    assert_eq!(stage.limiter.forget_idle(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_panic_inside_leaves_its_key_as_it_was() {
    let layer = by_host(1, |host: &Host| {
        assert_ne!(host, "policy", "asked to");
        Limit::Fixed(1)
    });
    let limiter = layer.limiter();
    let service = layer.layer(tower::service_fn(async |request: Req| {
        assert_eq!(request.method(), "GET", "asked to");
        Ok::<_, std::io::Error>(response(200))
    }));
    let mut request = get("a");
    *request.method_mut() = http::Method::POST;
    let mut panics = spawn(service.clone().oneshot(request));
    assert!(catch_unwind(AssertUnwindSafe(|| panics.poll())).is_err());
    drop(panics);
    assert_eq!(limiter.snapshot_of(&"a".to_owned()).unwrap().in_flight(), 0);
    service.clone().oneshot(get("a")).await.unwrap();
    limiter.forget_idle();
    assert_eq!(limiter.keys().unwrap(), 0, "nothing is stuck");

    let mut panics = spawn(service.clone().oneshot(get("policy")));
    assert!(catch_unwind(AssertUnwindSafe(|| panics.poll())).is_err());
    drop(panics);
    assert_eq!(limiter.keys().unwrap(), 0, "it takes no room");
    service.oneshot(get("b")).await.unwrap();
}
