//! A limit for each key.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use aplomb_admission::{Closing, End, KeyNotice, KeyRefused, RejectReason};
use aplomb_concurrency::{
    Adaptive, AtCapacity, ConcurrencyCause, ConcurrencyLimitLayer, KeyedConcurrencyLimit, KeyedLimiter,
    Limit, LimitChange, Slots, TracingObserver,
};
use aplomb_core::{Account, CallKey, CallOptions, LayerName, Outcome, Rejection, find_in};
use http_body_util::BodyExt;
use tokio::time::advance;
use tokio_test::task::{Spawn, spawn};
use tokio_test::{assert_pending, assert_ready, assert_ready_err, assert_ready_ok};
use tower::util::Oneshot;
use tower::{Layer, ServiceExt};
use tower_test::mock::{self, Mock, SendResponse};

use crate::support::{Req, Res, SECOND, response, stream};

type Host = String;
type Service = KeyedConcurrencyLimit<Mock<Req, Res>, Host, fn(&Req) -> Host>;
type Call = Spawn<Oneshot<Service, Req>>;

/// A peer for every host, behind one limit for each.
struct Stage {
    service: Service,
    peer: mock::Handle<Req, Res>,
    limiter: KeyedLimiter<Host>,
}

fn host(request: &Req) -> Host {
    request.uri().host().unwrap_or_default().to_owned()
}

fn get(host: &str) -> Req {
    Req::get(format!("https://{host}/")).body(()).unwrap()
}

impl Stage {
    fn new(max_keys: usize, limit: impl Into<Limit>) -> Self {
        let limit = limit.into();
        Self::with(KeyedLimiter::new(max_keys, move |_| limit))
    }

    fn with(limiter: KeyedLimiter<Host>) -> Self {
        let (service, peer) = mock::pair();
        let layer = ConcurrencyLimitLayer::keyed(limiter.clone(), host as fn(&Req) -> Host);
        Self { service: layer.layer(service), peer, limiter }
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

    /// So many calls at once, that end with this status.
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
        self.limiter.snapshot(&host.to_owned()).map(|now| now.limit())
    }

    /// In flight, abandoned, waiting.
    fn counts(&self, host: &str) -> (usize, usize, usize) {
        let now = self.limiter.snapshot(&host.to_owned()).unwrap();
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
    // A key of the call's own goes before what is found.
    let mut overridden = get("c.example");
    overridden.extensions_mut().insert(CallKey("b.example".to_owned()));
    let mut behind = stage.call(overridden);
    assert_pending!(behind.poll());
    assert_eq!((stage.counts("b.example"), stage.limiter.keys()), ((1, 0, 1), 2));
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
    let saturated = find_in::<AtCapacity, _>(&error).unwrap();
    assert_eq!(saturated.key(), Some("\"a.example\""));
    assert_eq!(saturated.why().map(|why| (why.limit(), why.in_flight())), Some((1, 1)));
    assert_eq!(
        saturated.to_string(),
        "the wait for the concurrency limit would be too long, for key \"a.example\" (1 in flight of 1)"
    );
    assert_eq!(find_in::<KeyRefused, _>(&error).map(KeyRefused::key), saturated.key());
    let refused = find_in::<Rejection, _>(&error).unwrap();
    assert_eq!((refused.layer(), refused.attempts()), (LayerName::ConcurrencyLimit, 2));
}

#[tokio::test(start_paused = true)]
async fn a_limit_that_was_learned_survives_a_rest_and_any_number_of_other_keys() {
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
    assert!(stage.limiter.keys() < 500, "{} keys", stage.limiter.keys());
    let now = stage.limiter.snapshot(&"a".to_owned()).unwrap();
    let moved = now.last_change().unwrap();
    assert_eq!((now.limit(), moved.from(), moved.cause()), (9, 12, ConcurrencyCause::Overload));
    // Nine go at once, and the ceiling is known: it is approached, where a slow start would leap beyond.
    for _ in 0..5 {
        stage.burst("a", 9, 200).await;
    }
    assert_eq!(stage.limit("a"), Some(10));

    // It is forgotten when nobody has wanted to know for an hour.
    stage.limiter.forget_idle();
    advance(3_599 * SECOND).await;
    stage.limiter.forget_idle();
    assert_eq!((stage.limiter.keys(), stage.limit("a")), (1, Some(10)));
    advance(SECOND).await;
    assert_eq!(stage.limiter.forget_idle(), 1);
    assert_eq!((stage.limiter.keys(), stage.limit("a")), (0, None));
}

#[tokio::test(start_paused = true)]
async fn keys_at_their_initial_limit_are_forgotten_and_the_count_falls() {
    let limiter = KeyedLimiter::new(100_000, |_: &u64| Adaptive::new());
    let call = async |key: u64| {
        let mut permit = limiter.acquire(&key, &CallOptions::new()).await.unwrap();
        permit.sent();
        permit.end(End::Judged { outcome: Outcome::success(), usage: None });
    };
    let mut most = 0;
    for key in 0..20_000 {
        call(key).await;
        most = most.max(limiter.keys());
    }
    assert!(most < 2_000, "{most} keys at once");
    for _ in 0..20_000 {
        call(0).await;
    }
    assert!(limiter.keys() < 50, "{} keys", limiter.keys());
    limiter.forget_idle();
    assert_eq!(limiter.keys(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_full_map_refuses_typed_and_makes_room_of_what_is_not_busy() {
    let limiter = KeyedLimiter::new(2, |_: &Account| Adaptive::new().initial(1));
    let (service, mut peer) = mock::pair::<Req, Res>();
    let service = ConcurrencyLimitLayer::keyed(limiter.clone(), Account::of::<Req>).layer(service);
    let call = |tenant: &str| {
        let mut request = get("api.example.com");
        request.headers_mut().insert("authorization", format!("Bearer {tenant}").parse().unwrap());
        spawn(service.clone().oneshot(request))
    };
    let (mut learns, mut hangs) = (call("a"), call("b"));
    assert_pending!(learns.poll());
    assert_pending!(hangs.poll());
    let error = assert_ready_err!(call("sk-secret").poll());
    let saturated = find_in::<AtCapacity, _>(&error).unwrap();
    assert_eq!((saturated.because(), saturated.why()), (RejectReason::TooManyKeys, None));
    assert_eq!(find_in::<Rejection, _>(&error).unwrap().layer(), LayerName::ConcurrencyLimit);
    assert_eq!(find_in::<KeyRefused, _>(&error).map(KeyRefused::key), saturated.key());
    assert!(saturated.key().unwrap().starts_with("api.example.com:443 credential #"));
    assert!(!format!("{error:?} {saturated}").contains("secret"), "{error:?}");
    assert_eq!((limiter.keys(), limiter.max_keys()), (2, 2));

    // What a has learned makes room; b is in flight, and what it abandons is busy for as long again.
    peer.next_request().await.unwrap().1.send_response(response(200));
    assert_ready_ok!(learns.poll());
    drop(learns);
    let _sent = peer.next_request().await.unwrap();
    advance(3 * SECOND).await;
    let mut c = call("c");
    assert_pending!(c.poll());
    drop(hangs);
    let error = assert_ready_err!(call("d").poll());
    assert_eq!(find_in::<AtCapacity, _>(&error).unwrap().because(), RejectReason::TooManyKeys);
    advance(3 * SECOND).await;
    assert_pending!(call("d").poll());
}

#[tokio::test(start_paused = true)]
async fn the_handle_shows_each_key() {
    let limiter = KeyedLimiter::new(10, |host: &Host| match host.as_str() {
        "fixed" => Slots::from(2),
        "patient" => {
            let mut slots = Slots::from(Adaptive::new().initial(1));
            slots.set_abandoned(Duration::ZERO);
            slots
        }
        _ => Adaptive::new().into(),
    });
    let mut stage = Stage::with(limiter.clone());
    assert_eq!((limiter.snapshot(&"fixed".to_owned()), limiter.keys()), (None, 0), "looking makes no key");
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
        .map(|(key, now)| {
            let moved = now.last_change().map(|moved| moved.to_string());
            (key, now.limit(), now.in_flight(), now.waiting(), moved)
        })
        .collect();
    all.sort();
    let moved = Some("limit 6 → 7: slow start".to_owned());
    assert_eq!(
        all,
        [
            ("a".to_owned(), 7, 0, 0, moved),
            ("fixed".to_owned(), 2, 2, 1, None)
        ]
    );

    limiter.close(Closing::Fail);
    let error = assert_ready!(waits.poll()).unwrap_err();
    assert_eq!(find_in::<AtCapacity, _>(&error).unwrap().because(), RejectReason::Closed);
    let refusal = limiter.acquire(&"new".to_owned(), &CallOptions::new()).await.unwrap_err();
    assert_eq!((refusal.because(), refusal.key()), (RejectReason::Closed, None));
}

#[tokio::test(start_paused = true)]
async fn each_move_is_told_once_with_its_key_and_outside_of_locks() {
    let told = Arc::new(Mutex::new(Vec::new()));
    let inside: Arc<OnceLock<KeyedLimiter<Host>>> = Arc::default();
    let (telling, reading) = (Arc::clone(&told), Arc::clone(&inside));
    let observer = move |notice: &KeyNotice<'_, Host, LimitChange>| {
        let (key, moved) = (notice.key(), notice.notice());
        // Any key may be looked at, its own included.
        let limiter = reading.get().unwrap();
        assert_eq!(limiter.snapshot(key).unwrap().last_change(), Some(*moved));
        assert_eq!(limiter.snapshots().count(), limiter.keys());
        telling.lock().unwrap().push((key.clone(), moved.from(), moved.to(), moved.cause()));
    };
    let policy = |_: &Host| Adaptive::new().initial(2);
    let limiter = KeyedLimiter::with_observer(10, policy, (observer, TracingObserver));
    inside.set(limiter.clone()).unwrap();
    let mut stage = Stage::with(limiter.clone());
    stage.burst("a", 2, 200).await;
    stage.burst("b", 1, 503).await;
    // Neither a rest nor a return is a move.
    limiter.forget_idle();
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
    assert_eq!(stage.limiter.keys(), 0, "nothing is made before it is polled");

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

    // Before the first byte, and amid the body.
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
    assert_eq!((stage.limiter.forget_idle(), stage.limiter.keys()), (1, 0));
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
    let limiter = KeyedLimiter::new(1, |host: &Host| {
        assert_ne!(host, "policy", "asked to");
        Limit::Fixed(1)
    });
    let layer = ConcurrencyLimitLayer::keyed(limiter.clone(), host as fn(&Req) -> Host);
    let service = layer.layer(tower::service_fn(async |request: Req| {
        assert_eq!(request.method(), "GET", "asked to");
        Ok::<_, std::io::Error>(response(200))
    }));
    let mut request = get("a");
    *request.method_mut() = http::Method::POST;
    let mut panics = spawn(service.clone().oneshot(request));
    assert!(catch_unwind(AssertUnwindSafe(|| panics.poll())).is_err());
    drop(panics);
    assert_eq!(limiter.snapshot(&"a".to_owned()).unwrap().in_flight(), 0);
    service.clone().oneshot(get("a")).await.unwrap();
    limiter.forget_idle();
    assert_eq!(limiter.keys(), 0, "nobody is stuck");

    let mut panics = spawn(service.clone().oneshot(get("policy")));
    assert!(catch_unwind(AssertUnwindSafe(|| panics.poll())).is_err());
    drop(panics);
    assert_eq!(limiter.keys(), 0, "it takes no room");
    service.oneshot(get("b")).await.unwrap();
}
