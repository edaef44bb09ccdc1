//! What a review has found.
#![allow(clippy::all, clippy::pedantic, clippy::nursery, reason = "a review's tests")]

use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use aplomb::circuit_breaker::{Slow, State, Trip, Window};
use aplomb::rate_limit::Quota;
use aplomb::{
    BoxError, CallOptions, Closing, DeadlinePassed, EndpointLayer, HookFailed, Outgoing, Policies,
    PoliciesLayer, Policy, Report, find, route,
};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use tokio::time::Instant;
use tower::{Layer, Service, ServiceExt, service_fn};

use crate::calls::{chat, under};
use crate::script::{Reply, Server, Step, data, done, word};

const S: Duration = Duration::from_secs(1);

type Request = http::Request<Full<Bytes>>;
type Response = http::Response<Full<Bytes>>;

/// Answers at once.
fn quick() -> impl Service<Request, Response = Response, Error = io::Error, Future: Send> + Clone {
    service_fn(|_: Request| async { Ok(Response::new(Full::from("{}"))) })
}

/// Never answers.
fn silent() -> impl Service<Request, Response = Response, Error = io::Error, Future: Send> + Clone {
    service_fn(|_: Request| std::future::pending::<io::Result<Response>>())
}

async fn slow_token(outgoing: Outgoing) -> Result<Outgoing, BoxError> {
    tokio::time::sleep(6 * S).await;
    Ok(outgoing)
}

// `DeadlinePassed` says "An attempt that was under way has been dropped"; it is not while the future is held.
#[tokio::test(start_paused = true)]
async fn a_deadline_drops_the_attempt_though_its_future_is_held() {
    let layer = under(Policy::new().deadline(S).concurrency(1));
    let handle = layer.handle();
    let mut call = pin!(layer.layer(silent()).oneshot(chat("hello", false)));
    let error = (&mut call).await.unwrap_err();
    assert!(find::<DeadlinePassed>(&error).is_some());
    assert_eq!(handle.in_flight(), 0);
}

#[tokio::test(start_paused = true)]
async fn drained_waits_for_the_attempt_a_deadline_has_ended() {
    let layer = under(Policy::new().deadline(S));
    let handle = layer.handle();
    let mut service = layer.layer(silent());
    let mut call = pin!(service.call(chat("hello", false)));
    (&mut call).await.unwrap_err();
    handle.close(Closing::Drain);
    handle.drained().await;
    assert_eq!(handle.in_flight(), 0, "drained, and yet something is in flight");
}

// Nothing was sent: "local … before dispatch: full refund".
#[tokio::test(start_paused = true)]
async fn a_call_dropped_in_its_hook_is_not_charged() {
    let layer = under(Policy::new().quota(Quota::requests_per_hour(5).burst(5))).request_hook(slow_token);
    let handle = layer.handle();
    let call = layer.layer(quick()).oneshot(chat("hello", false));
    assert!(tokio::time::timeout(S, call).await.is_err());
    assert_eq!(handle.available()[0].1, 5);
}

#[tokio::test(start_paused = true)]
async fn a_deadline_that_passes_in_the_hook_costs_nothing() {
    let policy = Policy::new().deadline(S).quota(Quota::requests_per_hour(5).burst(5));
    let layer = under(policy).request_hook(slow_token);
    let error = layer.layer(quick()).oneshot(chat("hello", false)).await.unwrap_err();
    assert_eq!(error.report().sent(), 0);
    assert_eq!(layer.handle().available()[0].1, 5);
}

// The token endpoint's slowness is not the peer's.
#[tokio::test(start_paused = true)]
async fn the_time_of_the_hook_is_not_slowness_of_the_server() {
    let trip = Trip::slow(0.5, Slow::whole(5 * S), Window::calls(10)).min_calls(2);
    let layer = under(Policy::new().trip(trip).fail_fast()).request_hook(slow_token);
    let endpoint = layer.layer(quick());
    for _ in 0..5 {
        let response = endpoint.clone().oneshot(chat("hello", false)).await;
        if let Ok(response) = response {
            response.into_body().collect().await.unwrap();
        }
    }
    assert_eq!(layer.handle().circuit().state(), State::Closed);
}

// `queued`: "How long it waited in the queue for its turn".
#[tokio::test(start_paused = true)]
async fn the_time_of_the_hook_is_not_time_in_the_queue() {
    let layer = under(Policy::new()).request_hook(slow_token);
    let response = layer.layer(quick()).oneshot(chat("hello", false)).await.unwrap();
    let report = response.extensions().get::<Report>().unwrap();
    assert_eq!(report.queued(), Duration::ZERO, "{report}");
}

// "Where it fails nothing is sent, nothing is charged, nothing is retried": the hook's own calls may go
// through another endpoint, whose errors are inside of its own.
#[tokio::test(start_paused = true)]
async fn a_hook_that_fails_by_a_broken_answer_is_not_retried() {
    let tokens = under(Policy::new().max_retries(0)).layer(Server::new([Reply::stream([
        word("a"),
        Step::Data("data: {\"error\":{\"message\":\"overloaded\",\"type\":\"server_error\"}}\n\n".into()),
        done(),
    ])]));
    let runs = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&runs);
    let layer = under(Policy::new()).request_hook(move |outgoing: Outgoing| {
        counted.fetch_add(1, Ordering::Relaxed);
        let call = tokens.clone().oneshot(chat("token", true));
        async move {
            call.await?.into_body().collect().await?;
            Ok(outgoing)
        }
    });
    let error = layer.layer(quick()).oneshot(chat("hello", false)).await.unwrap_err();
    assert!(find::<HookFailed>(&error).is_some(), "{error}");
    assert_eq!(runs.load(Ordering::Relaxed), 1, "{error}");
    assert_eq!(layer.handle().circuit().tally().calls(), 0);
}

// The call of a hook is another call: it has retries of its own.
#[tokio::test(start_paused = true)]
async fn an_endpoint_that_a_hook_calls_retries() {
    let mut down = Reply::of("application/json", [data("{}")]);
    down.status = 503;
    let tokens = under(Policy::new()).layer(Server::new([down, Reply::of("application/json", [data("{}")])]));
    let layer = under(Policy::new()).request_hook(move |outgoing: Outgoing| {
        let call = tokens.clone().oneshot(chat("token", false));
        async move {
            let response = call.await?;
            if !response.status().is_success() {
                return Err(format!("{}", response.status()).into());
            }
            Ok(outgoing)
        }
    });
    let result = layer.layer(quick()).oneshot(chat("hello", false)).await;
    assert!(result.is_ok(), "{:?}", result.unwrap_err());
}

/// Is never ready, but broken.
#[derive(Clone)]
struct Unready(Arc<AtomicU32>);

impl Service<Request> for Unready {
    type Response = Response;
    type Error = io::Error;
    type Future = std::future::Ready<io::Result<Response>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.fetch_add(1, Ordering::Relaxed);
        Poll::Ready(Err(io::Error::other("finished")))
    }

    fn call(&mut self, _: Request) -> Self::Future {
        panic!("not ready")
    }
}

// The same client costs nothing without a hook: nothing was sent.
#[tokio::test(start_paused = true)]
async fn a_client_that_is_not_ready_costs_the_same_with_and_without_a_hook() {
    let policy = Policy::new().quota(Quota::requests_per_hour(50).burst(50));
    let mut came_to = Vec::new();
    for hooked in [false, true] {
        let mut layer = under(policy.clone());
        if hooked {
            layer = layer.request_hook(|outgoing: Outgoing| async move { Ok(outgoing) });
        }
        let handle = layer.handle();
        let asked = Arc::default();
        let error = layer.layer(Unready(Arc::clone(&asked))).oneshot(chat("hello", false)).await.unwrap_err();
        came_to.push((
            handle.available()[0].1,
            handle.circuit().tally().calls(),
            error.report().sent(),
            asked.load(Ordering::Relaxed),
        ));
    }
    assert_eq!(came_to[0], came_to[1]);
}

// "After `close()` new calls are refused": the arrival is an option of callers too.
#[tokio::test(start_paused = true)]
async fn a_new_call_that_names_its_arrival_is_refused_after_close() {
    let layer = under(Policy::new());
    layer.handle().close(Closing::Drain);
    let mut request = chat("hello", false);
    request.extensions_mut().insert(CallOptions::new().with_arrival(Instant::now()));
    assert!(layer.layer(quick()).oneshot(request).await.is_err());
}

// Only what was set is held against a policy; who writes this has set nothing else.
#[test]
fn a_preset_can_be_given_a_shorter_deadline() {
    assert_eq!(Policy::interactive().deadline(30 * S).validate(), Ok(()));
    assert_eq!(Policy::interactive().attempt_timeout(30 * S).validate(), Ok(()));
}

// The client did send it.
#[tokio::test(start_paused = true)]
async fn the_error_of_what_passes_does_not_say_that_nothing_was_sent() {
    let broken = service_fn(|_: Request| async { Err::<Response, _>(io::Error::other("reset")) });
    let service = PoliciesLayer::new(Policies::new()).unwrap().layer(broken);
    let error = service.oneshot(chat("hello", false)).await.unwrap_err();
    assert!(!error.to_string().contains("nothing sent"), "{error}");
}

// "`Debug` shows the patterns, except for values of headers in which credentials stand."
#[test]
fn routes_do_not_show_credentials() {
    let names = [
        "proxy-authorization",
        "ocp-apim-subscription-key",
        "x-amz-security-token",
        "cookie",
    ];
    let shown: Vec<_> = names
        .iter()
        .filter(|name| format!("{:?}", route::header(name, "sk-secret")).contains("sk-secret"))
        .collect();
    assert!(shown.is_empty(), "{shown:?}");
}

// The error of a pattern that is a whole address repeats what stands in it.
#[test]
fn invalid_routes_do_not_show_credentials() {
    let routes = [
        route::host("https://user:sk-secret@a.example"),
        route::path("/v1beta/models/gemini:generateContent?key=sk-secret"),
    ];
    let shown: Vec<_> = routes
        .iter()
        .map(|route| route.check().unwrap_err().to_string())
        .filter(|error| error.contains("sk-secret"))
        .collect();
    assert!(shown.is_empty(), "{shown:?}");
}

// Slots that were taken away and come back know nothing of a call that was admitted by those before.
#[tokio::test(start_paused = true)]
async fn a_concurrency_limit_that_is_taken_away_and_set_again_survives_the_calls_in_flight() {
    let layer = under(Policy::new().concurrency(1));
    let (handle, endpoint) = (
        layer.handle(),
        layer.layer(Server::new([Reply::of("application/json", [data("{}")]).after(S)])),
    );
    let call = tokio::spawn(endpoint.clone().oneshot(chat("hello", false)));
    tokio::time::sleep(S / 2).await;
    handle.set_policy(Policy::new()).unwrap();
    handle.set_policy(Policy::new().concurrency(2)).unwrap();
    drop(call.await.expect("no panic").unwrap());
    assert_eq!(handle.concurrency().unwrap().in_flight(), 0);
    let next = tokio::time::timeout(10 * S, endpoint.oneshot(chat("hello", false))).await;
    assert!(next.is_ok_and(|result| result.is_ok()));
}

#[tokio::test(start_paused = true)]
async fn a_concurrency_limit_that_is_set_anew_admits_no_more_than_it_says() {
    let layer = under(Policy::new().concurrency(2));
    let (handle, endpoint) = (layer.handle(), layer.layer(silent()));
    let first = tokio::spawn(endpoint.clone().oneshot(chat("hello", false)));
    tokio::time::sleep(S).await;
    handle.set_policy(Policy::new()).unwrap();
    handle.set_policy(Policy::new().concurrency(1)).unwrap();
    let second = tokio::spawn(endpoint.clone().oneshot(chat("hello", false)));
    tokio::time::sleep(S).await;
    first.abort();
    let _ = first.await;
    assert_eq!(handle.concurrency().unwrap().in_flight(), 1, "the second is in flight");
    drop(second);
}

// "Calls that have begun go on under the old one, but for the gates, which are the same for all."
#[tokio::test(start_paused = true)]
async fn a_call_that_waits_draws_on_a_token_quota_that_is_set_meanwhile() {
    let requests = Quota::requests_per_minute(60).burst(1);
    let layer = under(Policy::new().quota(requests));
    let (handle, endpoint) = (layer.handle(), layer.layer(quick()));
    drop(endpoint.clone().oneshot(chat("hello", false)).await.unwrap());
    let waits = tokio::spawn(endpoint.clone().oneshot(chat("hello", false)));
    tokio::time::sleep(S / 2).await;
    handle
        .set_policy(Policy::new().quotas([requests, Quota::tokens_per_day(1_000_000)]))
        .unwrap();
    drop(waits.await.unwrap().unwrap());
    let left = handle.available()[1].1;
    assert!(left < 1_000_000, "{left}");
}

// A key whose quotas panic takes no place for ever.
#[tokio::test(start_paused = true)]
async fn a_panic_in_the_quotas_of_a_key_leaks_no_place() {
    let layer = under(Policy::new())
        .by_key(|request: &route::RequestView<'_>| {
            request.headers().unwrap()["x-key"].to_str().unwrap().to_owned()
        })
        .max_keys(1)
        .quotas(|key: &String| if key == "bad" { panic!("bad") } else { Vec::new() });
    let endpoint = layer.layer(quick());
    let of = |key: &str| {
        let mut request = chat("hello", false);
        request.headers_mut().insert("x-key", key.parse().unwrap());
        request
    };
    assert!(tokio::spawn(endpoint.clone().oneshot(of("bad"))).await.unwrap_err().is_panic());
    assert!(endpoint.oneshot(of("good")).await.is_ok());
}

// A call that has begun ends with its retries, whatever its key does meanwhile.
#[tokio::test(start_paused = true)]
async fn a_retry_of_a_key_is_served_while_the_endpoint_drains() {
    let mut down = Reply::of("application/json", [data("{}")]);
    down.status = 503;
    let layer = under(Policy::new()).by_key(|_: &route::RequestView<'_>| 7);
    let endpoint = layer.layer(Server::new([down, Reply::of("application/json", [data("{}")])]));
    let call = tokio::spawn(endpoint.clone().oneshot(chat("hello", false)));
    tokio::task::yield_now().await;
    layer.handle().close(Closing::Drain);
    assert_eq!(call.await.unwrap().unwrap().status(), 200);
    assert!(endpoint.oneshot(chat("hello", false)).await.is_err());
    layer.handle().drained().await;
}

#[tokio::test(start_paused = true)]
async fn a_hook_that_panics_leaves_nothing_behind() {
    let layer = under(Policy::new().concurrency(1).quota(Quota::requests_per_hour(5).burst(5))).request_hook(
        |outgoing: Outgoing| async move {
            if outgoing.attempt() == 1 && outgoing.headers().contains_key("x-bad") {
                panic!("bad");
            }
            Ok(outgoing)
        },
    );
    let (handle, endpoint) = (layer.handle(), layer.layer(quick()));
    let mut bad = chat("hello", false);
    bad.headers_mut().insert("x-bad", "1".parse().unwrap());
    assert!(tokio::spawn(endpoint.clone().oneshot(bad)).await.unwrap_err().is_panic());
    assert_eq!((handle.in_flight(), handle.waiting()), (0, 0));
    assert!(endpoint.oneshot(chat("hello", false)).await.is_ok());
    handle.drained().await;
}

// An error's body that never ends.
#[tokio::test(start_paused = true)]
async fn a_stalled_error_does_not_keep_a_call() {
    let mut down = Reply::of("application/json", [data("{"), Step::Wait(100_000 * S)]);
    down.status = 503;
    let layer = under(Policy::new());
    let endpoint = layer.layer(Server::new([down, Reply::of("application/json", [data("{}")])]));
    let start = Instant::now();
    assert_eq!(endpoint.oneshot(chat("hello", false)).await.unwrap().status(), 200);
    assert!(start.elapsed() < 8 * S, "{:?}", start.elapsed());
    assert_eq!(layer.handle().circuit().tally().calls(), 1);
}

#[tokio::test(start_paused = true)]
async fn the_largest_settings_work() {
    let most = Duration::MAX;
    let policy = Policy::new()
        .quota(Quota::tokens_per_minute(u64::MAX))
        .quota(Quota::requests_per_minute(u64::MAX))
        .max_wait(most)
        .max_retries(u32::MAX)
        .max_retry_after(most)
        .park(most)
        .head_timeout(most)
        .content_timeout(most)
        .idle_timeout(most)
        .attempt_timeout(most)
        .deadline(most)
        .look_ahead(usize::MAX, most)
        .whole_answers(usize::MAX)
        .max_waiting(usize::MAX);
    let mut down = Reply::of("application/json", [data("{}")]);
    down.status = 503;
    let mut throttled = Reply::of("application/json", [data("{}")]);
    throttled.status = 429;
    throttled.headers.push(("retry-after", "18446744073709551615".into()));
    let layer = under(policy).request_hook(|outgoing: Outgoing| async move { Ok(outgoing) });
    let endpoint = layer.layer(Server::new([down, Reply::of("application/json", [data("{}")]), throttled]));
    let mut request = chat("hello", false);
    request
        .extensions_mut()
        .insert(aplomb::rate_limit::Charge::request().input_tokens(u64::MAX).output_tokens(u64::MAX));
    let result = endpoint.clone().oneshot(chat("hello", false)).await;
    assert_eq!(result.unwrap().status(), 200);
    let _ = tokio::time::timeout(100_000 * S, endpoint.clone().oneshot(request)).await;
    let _ = tokio::time::timeout(100_000 * S, endpoint.clone().oneshot(chat("hello", false))).await;
    let body = r#"{"model":"m","max_tokens":18446744073709551615,"n":18446744073709551615,"messages":[{"role":"user","content":"a"}]}"#;
    let request: Request = http::Request::post("/v1/chat/completions").body(Full::from(body)).unwrap();
    let _ = tokio::time::timeout(100_000 * S, endpoint.oneshot(request)).await;
}

/// Demands that the instance that is called has been ready.
struct Strict {
    ready: bool,
    calls: Arc<AtomicU32>,
}

impl Clone for Strict {
    fn clone(&self) -> Self {
        Self { ready: false, calls: Arc::clone(&self.calls) }
    }
}

impl Service<Request> for Strict {
    type Response = Response;
    type Error = io::Error;
    type Future = std::future::Ready<io::Result<Response>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.ready = true;
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request) -> Self::Future {
        assert!(std::mem::take(&mut self.ready), "called without having been ready");
        let status = if self.calls.fetch_add(1, Ordering::Relaxed) % 2 == 0 {
            503
        } else {
            200
        };
        std::future::ready(Ok(http::Response::builder().status(status).body(Full::from("{}")).unwrap()))
    }
}

#[tokio::test(start_paused = true)]
async fn promise_1_in_every_way() {
    let hooked = under(Policy::new()).request_hook(|outgoing: Outgoing| async move { Ok(outgoing) });
    let policies = Policies::new()
        .route(route::path("/v1/chat"), under(Policy::new()))
        .route(route::path("/hooked"), hooked);
    let mut service = PoliciesLayer::new(policies)
        .unwrap()
        .layer(Strict { ready: false, calls: Arc::default() });
    for path in ["/v1/chat/completions", "/hooked", "/unknown"] {
        for _ in 0..3 {
            let mut request = chat("hello", false);
            *request.uri_mut() = path.parse().unwrap();
            service.ready().await.unwrap().call(request).await.unwrap();
        }
    }
}

#[test]
fn hosts_are_not_tricked() {
    let to = |uri: &str, host: Option<&str>| {
        let mut request = http::Request::post(uri);
        if let Some(host) = host {
            request = request.header("host", host);
        }
        request.body(()).unwrap()
    };
    let route = route::host("api.openai.com");
    for (uri, host, matches) in [
        ("https://API.OPENAI.COM./v1", None, true),
        ("https://user:pw@api.openai.com/v1", None, true),
        ("https://api.openai.com@evil.org/v1", None, false),
        ("https://evil.org/v1", Some("api.openai.com"), false),
        ("/v1", Some("api.openai.com:443"), true),
        ("/v1", Some("api.openai.com:"), true),
        ("/v1", Some("API.openai.com.:443"), true),
        ("/v1", Some("evil.org"), false),
        ("/v1", None, false),
    ] {
        let request = to(uri, host);
        assert_eq!(route.matches(&route::RequestView::head(&request)), matches, "{uri} {host:?}");
    }
    let v6 = to("http://[::1]:8000/v1", None);
    assert!(route::host("[::1]:8000").matches(&route::RequestView::head(&v6)));
}

#[test]
fn types_are_what_users_need() {
    fn all<T: Send + Sync + Clone + 'static>(_: &T) {}
    fn sent<T: Send + 'static>(_: T) {}
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let _guard = runtime.enter();
    let layer = under(Policy::new());
    let endpoint = tower::ServiceBuilder::new()
        .layer(layer.clone())
        .service(aplomb_mock::Mock::builder().build());
    all(&layer);
    all(&layer.handle());
    all(&endpoint);
    all(&layer.clone().by_account());
    all(&layer.clone().by_account().handle());
    all(&Policies::new().route(route::any(), layer.clone()));
    let policies = PoliciesLayer::new(Policies::new()).unwrap();
    all(&policies);
    all(&policies.handle());
    all(&policies.layer(aplomb_mock::Mock::builder().build()));
    sent(endpoint.clone().call(chat("a", false)));
    let mut boxed = tower::util::BoxCloneSyncService::new(endpoint);
    sent(boxed.call(chat("a", false)));
    sent(policies.layer(aplomb_mock::Mock::builder().build()).call(chat("a", false)));
}

// `quotas`: "Asked whenever a key comes into use … outside of locks".
#[tokio::test]
async fn the_quotas_of_a_key_are_asked_outside_of_locks() {
    let (in_closure, asked) = std::sync::mpsc::channel();
    let (changed, is_changed) = std::sync::mpsc::channel::<()>();
    let is_changed = std::sync::Mutex::new(is_changed);
    let waited = Arc::new(std::sync::Mutex::new(None));
    let result = Arc::clone(&waited);
    let layer = under(Policy::new()).by_key(|_: &route::RequestView<'_>| 7).quotas(move |_: &i32| {
        let _ = in_closure.send(());
        let mut result = result.lock().unwrap();
        if result.is_none() {
            *result = Some(is_changed.lock().unwrap().recv_timeout(Duration::from_secs(2)).is_ok());
        }
        Vec::new()
    });
    let handle = layer.handle();
    let other = handle.clone();
    let changes = std::thread::spawn(move || {
        asked.recv().unwrap();
        other.set_policy(Policy::new()).unwrap();
        let _ = changed.send(());
    });
    drop(handle.of(&7).unwrap());
    changes.join().unwrap();
    assert_eq!(*waited.lock().unwrap(), Some(true), "set_policy waits for the closure");
}

static ARMED: AtomicU32 = AtomicU32::new(0);
static REQUESTS: AtomicU32 = AtomicU32::new(1);
static HANDLE: std::sync::OnceLock<aplomb::KeyedEndpointHandle<Key>> = std::sync::OnceLock::new();

/// A key whose last clone may change the policy when it is dropped, as another thread may at any time.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key(u32);

impl Drop for Key {
    fn drop(&mut self) {
        if ARMED.load(Ordering::SeqCst) == 1 && self.0 < 10_000 {
            ARMED.store(2, Ordering::SeqCst);
            REQUESTS.store(2, Ordering::SeqCst);
            HANDLE.get().unwrap().set_policy(Policy::new()).unwrap();
        }
    }
}

// "Puts another policy in force … for all keys": one that comes into use at that moment keeps the old one.
#[tokio::test]
async fn a_key_that_comes_into_use_while_the_policy_changes_has_the_new_one() {
    let layer = under(Policy::new()).by_key(|_: &route::RequestView<'_>| Key(0)).quotas(|key: &Key| {
        if key.0 >= 10_000 && ARMED.load(Ordering::SeqCst) == 0 {
            ARMED.store(1, Ordering::SeqCst);
        }
        vec![Quota::requests_per_day(REQUESTS.load(Ordering::SeqCst).into())]
    });
    let handle = layer.handle();
    HANDLE.set(handle.clone()).unwrap();
    for key in 0..1_000 {
        drop(handle.of(&Key(key)).unwrap());
    }
    let mut key = 10_000;
    let mut held = Vec::new();
    while ARMED.load(Ordering::SeqCst) != 2 {
        ARMED.store(0, Ordering::SeqCst);
        key += 1;
        assert!(key < 20_000, "no key was forgotten meanwhile");
        held.push(handle.of(&Key(key)).unwrap());
    }
    let quotas: Vec<u64> = held.iter().map(|key| key.available()[0].0.amount()).collect();
    assert!(quotas.iter().all(|requests| *requests == 2), "{quotas:?}");
}

// Nothing was ever queued: a client that is not ready is tried again after a backoff.
#[tokio::test(start_paused = true)]
async fn the_waits_before_a_client_is_ready_are_no_time_in_the_queue() {
    let layer = under(Policy::new());
    let error = layer.layer(Unready(Arc::default())).oneshot(chat("hello", false)).await.unwrap_err();
    assert_eq!(error.report().queued(), Duration::ZERO, "{error}");
    assert_eq!(error.report().waited(), error.report().elapsed(), "{error}");
}

/// Notes that it is dropped, and never says anything more.
struct Hangs(Arc<AtomicU32>, bool);

impl Drop for Hangs {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

impl http_body::Body for Hangs {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<io::Result<http_body::Frame<Bytes>>>> {
        if std::mem::replace(&mut self.1, false) {
            let word = "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"a\"}}]}\n\n";
            return Poll::Ready(Some(Ok(http_body::Frame::data(word.into()))));
        }
        Poll::Pending
    }
}

// `TimedOut`: "An attempt took too long. It has been dropped".
#[tokio::test(start_paused = true)]
async fn a_timeout_in_the_body_drops_the_clients_body() {
    let dropped = Arc::new(AtomicU32::new(0));
    let counts = Arc::clone(&dropped);
    let client = service_fn(move |_: Request| {
        let body = Hangs(Arc::clone(&counts), true);
        async move {
            Ok::<_, io::Error>(
                http::Response::builder().header("content-type", "text/event-stream").body(body).unwrap(),
            )
        }
    });
    let mut body = under(Policy::new()).layer(client).oneshot(chat("hello", true)).await.unwrap().into_body();
    assert!(body.frame().await.unwrap().is_ok());
    let error = body.frame().await.unwrap().unwrap_err();
    assert!(find::<aplomb::TimedOut>(&*error).is_some());
    assert_eq!(dropped.load(Ordering::Relaxed), 1);
}

// What an answer is guessed to come to is no reason to refuse a request for ever: the least deployment at
// Azure has 1,000 tokens per minute.
#[tokio::test(start_paused = true)]
async fn a_guess_of_the_output_refuses_nothing_for_ever() {
    let layer =
        EndpointLayer::with_policy(aplomb::provider::AzureOpenAi, Policy::new().tokens_per_minute(1_000))
            .unwrap();
    let body = r#"{"model":"m","messages":[{"role":"user","content":"hello"}]}"#;
    let request: Request = http::Request::post("/openai/deployments/m/chat/completions")
        .body(Full::from(body))
        .unwrap();
    let result = layer.layer(quick()).oneshot(request).await;
    assert!(result.is_ok(), "{}", result.unwrap_err());
}

// The same where the limit is learned: the server would have answered.
#[tokio::test(start_paused = true)]
async fn a_guess_of_the_output_refuses_nothing_for_ever_where_the_limit_is_learned() {
    let mut reply = Reply::of("application/json", [data("{}")]);
    reply.headers.extend([
        ("x-ratelimit-limit-tokens", "1000".to_owned()),
        ("x-ratelimit-remaining-tokens", "990".to_owned()),
        ("x-ratelimit-reset-tokens", "1s".to_owned()),
    ]);
    let layer = EndpointLayer::new(aplomb::provider::Groq);
    let endpoint = layer.layer(Server::new([reply]));
    for call in 0..3 {
        let body = r#"{"model":"m","messages":[{"role":"user","content":"hello"}]}"#;
        let request: Request =
            http::Request::post("/openai/v1/chat/completions").body(Full::from(body)).unwrap();
        let result = endpoint.clone().oneshot(request).await;
        assert!(result.is_ok(), "{call}: {}", result.unwrap_err());
        result.unwrap().into_body().collect().await.unwrap();
        tokio::time::sleep(60 * S).await;
    }
}

// A caller who has gone away has not been answered.
#[tokio::test(start_paused = true)]
async fn the_account_of_a_stream_that_was_dropped_is_no_success() {
    let layer = under(Policy::new());
    let endpoint = layer.layer(Server::new([Reply::stream([word("a"), Step::Wait(S), word("b"), done()])]));
    let response = endpoint.oneshot(chat("hello", true)).await.unwrap();
    let report = response.extensions().get::<Report>().unwrap().clone();
    let mut body = response.into_body();
    body.frame().await.unwrap().unwrap();
    drop(body);
    assert!(!report.outcome().unwrap().is_success(), "{report}");
}

/// Is never ready, and does not say why.
#[derive(Clone)]
struct Connecting;

impl Service<Request> for Connecting {
    type Response = Response;
    type Error = io::Error;
    type Future = std::future::Ready<io::Result<Response>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Pending
    }

    fn call(&mut self, _: Request) -> Self::Future {
        panic!("not ready")
    }
}

// "connecting is limited by the client, and by the first" of the timeouts: a client that connects in `poll_ready`
// holds its slot and its quota for ever.
#[tokio::test(start_paused = true)]
async fn a_client_that_never_gets_ready_is_given_up() {
    let layer = under(Policy::new().concurrency(1).max_retries(0).head_timeout(10 * S));
    let call = layer.layer(Connecting).oneshot(chat("hello", false));
    assert!(tokio::time::timeout(100_000 * S, call).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_client_that_never_gets_ready_after_the_hook_is_given_up() {
    let layer = under(Policy::new().concurrency(1).max_retries(0).head_timeout(10 * S))
        .request_hook(|outgoing: Outgoing| async move { Ok(outgoing) });
    let call = layer.layer(Connecting).oneshot(chat("hello", false));
    assert!(tokio::time::timeout(100_000 * S, call).await.is_ok());
}

/// Claude reports 5,000 tokens of output, and breaks off.
fn broken_claude() -> Server {
    Server::new([Reply::stream([
        data(
            "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"usage\":{\"input_tokens\":10,\"output_tokens\":1}}}\n\n",
        ),
        data(
            "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\"a\"}}\n\n",
        ),
        data(
            "event: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{},\"usage\":{\"output_tokens\":5000}}\n\n",
        ),
        Step::Cut,
    ])])
}

async fn output_left_after_broken_claude(policy: Policy) -> i64 {
    let policy = policy.output_tokens_per_minute(100_000).max_retries(0);
    let layer = EndpointLayer::with_policy(aplomb::provider::Anthropic, policy).unwrap();
    let body =
        r#"{"model":"m","stream":true,"max_tokens":8000,"messages":[{"role":"user","content":"hello"}]}"#;
    let request: Request = http::Request::post("/v1/messages").body(Full::from(body)).unwrap();
    if let Ok(response) = layer.layer(broken_claude()).oneshot(request).await {
        response.into_body().collect().await.err().unwrap();
    }
    layer.handle().available()[0].1
}

// What a failed attempt reported as used is owed, whether its caller had begun to read or not.
#[tokio::test(start_paused = true)]
async fn what_a_broken_answer_used_is_owed_where_answers_are_whole() {
    assert_eq!(output_left_after_broken_claude(Policy::new()).await, 95_000);
    assert_eq!(output_left_after_broken_claude(Policy::new().whole_answers(1 << 20)).await, 95_000);
}

#[tokio::test(start_paused = true)]
async fn who_waits_hears_of_a_new_policy() {
    let tokens = |n| Policy::new().tokens_per_minute(n).max_wait(3_000 * S);
    // The quota is taken away, becomes larger, or too small for the call.
    for (policy, ok) in [
        (Policy::new(), true),
        (tokens(1_000_000), true),
        (tokens(10), false),
    ] {
        let layer = under(tokens(60));
        let (handle, endpoint) = (layer.handle(), layer.layer(quick()));
        let ask = || chat(&"word ".repeat(40), false);
        drop(endpoint.clone().oneshot(ask()).await.unwrap());
        let waits = tokio::spawn(endpoint.clone().oneshot(ask()));
        tokio::time::sleep(S / 100).await;
        assert_eq!(handle.waiting(), 1);
        let start = Instant::now();
        handle.set_policy(policy.clone()).unwrap();
        let result = waits.await.unwrap();
        assert!(result.is_ok() == ok && start.elapsed() < S, "{policy:?} {:?}", start.elapsed());
    }
    // So does who waits for a slot.
    for policy in [Policy::new(), Policy::new().concurrency(2)] {
        let layer = under(Policy::new().concurrency(1));
        let (handle, endpoint) = (
            layer.handle(),
            layer.layer(Server::new([Reply::of("application/json", [data("{}")]).after(100 * S)])),
        );
        let _first = tokio::spawn(endpoint.clone().oneshot(chat("hello", false)));
        tokio::time::sleep(S).await;
        let waits = tokio::spawn(endpoint.clone().oneshot(chat("hello", false)));
        tokio::time::sleep(S).await;
        assert_eq!(handle.waiting(), 1);
        handle.set_policy(policy).unwrap();
        tokio::time::sleep(S).await;
        assert_eq!(handle.waiting(), 0);
        waits.abort();
    }
}

// A call that was not made is no call that has begun: nothing else is said of futures.
#[tokio::test(start_paused = true)]
async fn a_deadline_in_the_past_sends_nothing() {
    let server = Server::new([Reply::of("application/json", [data("{}")])]);
    let layer = under(Policy::new());
    let mut request = chat("hello", false);
    request.extensions_mut().insert(CallOptions::new().with_deadline(Instant::now()));
    let error = layer.layer(server.clone()).oneshot(request).await.unwrap_err();
    assert_eq!(server.seen(), 0, "{error}");
}

// Not `Send`, and borrowed.
#[tokio::test(start_paused = true)]
async fn any_client_will_do() {
    let here = std::rc::Rc::new(());
    let client = service_fn(move |_: Request| {
        let here = std::rc::Rc::clone(&here);
        async move {
            let _here = here;
            Ok::<_, io::Error>(Response::new(Full::from("{}")))
        }
    });
    assert!(under(Policy::new()).layer(client).oneshot(chat("hello", false)).await.is_ok());
    let name = String::from("a");
    let borrowed = service_fn(|_: Request| {
        let name = &name;
        async move {
            let _ = name.len();
            Ok::<_, io::Error>(Response::new(Full::from("{}")))
        }
    });
    assert!(under(Policy::new()).layer(borrowed).oneshot(chat("hello", false)).await.is_ok());
}

// A pool whose members come and go with their keys.
#[tokio::test(start_paused = true)]
async fn the_keys_of_an_endpoint_draw_on_one_pool() {
    let pool = aplomb::rate_limit::Pool::new([Quota::requests_per_hour(10).burst(5)]);
    let layer = under(Policy::new().pool(&pool).max_wait(Duration::ZERO))
        .by_key(|request: &route::RequestView<'_>| {
            request.headers().unwrap()["x-key"].to_str().unwrap().to_owned()
        })
        .max_keys(2);
    let endpoint = layer.layer(quick());
    let mut admitted = 0;
    for key in 0..20 {
        let mut request = chat("hello", false);
        request.headers_mut().insert("x-key", key.to_string().parse().unwrap());
        admitted += usize::from(endpoint.clone().oneshot(request).await.is_ok());
    }
    assert_eq!(admitted, 5);
    assert_eq!(pool.snapshot().in_flight(), 0);
}

// It can never succeed.
#[tokio::test(start_paused = true)]
async fn a_policy_that_lets_nobody_in_is_not_valid() {
    let policy = Policy::new().concurrency(0);
    if let Ok(layer) = EndpointLayer::with_policy(aplomb::provider::OpenAi, policy) {
        assert!(layer.layer(quick()).oneshot(chat("hello", false)).await.is_ok());
    }
}

// The one bounds the peak, the other the average: both have an effect.
#[test]
fn a_peak_and_an_average_do_not_contradict_each_other() {
    let policy = Policy::new().quotas([
        Quota::requests_per_minute(600).burst(1),
        Quota::requests_per_minute(60).burst(60),
    ]);
    assert_eq!(policy.validate(), Ok(()));
}

#[tokio::test(start_paused = true)]
async fn a_hook_that_fails_leaves_a_probe_to_others() {
    let fails = Arc::new(AtomicU32::new(1));
    let failing = Arc::clone(&fails);
    let layer = under(Policy::new()).request_hook(move |outgoing: Outgoing| {
        let failing = failing.load(Ordering::Relaxed) == 1;
        async move {
            if failing {
                Err("no token".into())
            } else {
                Ok(outgoing)
            }
        }
    });
    let (handle, endpoint) = (layer.handle(), layer.layer(quick()));
    handle.force_open();
    for _ in 0..5 {
        let error = endpoint.clone().oneshot(chat("hello", false)).await.unwrap_err();
        assert!(find::<HookFailed>(&error).is_some(), "{error}");
    }
    fails.store(0, Ordering::Relaxed);
    let start = Instant::now();
    endpoint
        .clone()
        .oneshot(chat("hello", false))
        .await
        .unwrap()
        .into_body()
        .collect()
        .await
        .unwrap();
    assert_eq!(start.elapsed(), Duration::ZERO);
    assert_eq!(handle.circuit().state(), State::Closed);
}

// Dropped anywhere: in the queue, the hook, the head, the body, between attempts.
#[tokio::test(start_paused = true)]
async fn calls_dropped_anywhere_leave_nothing_behind() {
    let mut seed = 7_u64;
    let mut random = move |below: u64| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) % below
    };
    let mut down = Reply::of("application/json", [data("{"), Step::Wait(S / 10), data("}")]).after(S / 5);
    down.status = 503;
    let mut throttled = Reply::of("application/json", [data("{}")]);
    throttled.status = 429;
    throttled.headers.push(("retry-after", "1".into()));
    let mut replies = Vec::new();
    for n in 0..400 {
        replies.push(match n % 5 {
            0 => down.clone(),
            1 => throttled.clone(),
            2 => Reply::stream([Step::Wait(S / 3), word("a"), Step::Wait(S / 3), Step::Cut]).after(S / 3),
            _ => Reply::stream([word("a"), Step::Wait(S / 3), word("b"), done()]).after(S / 3),
        });
    }
    let pool = aplomb::rate_limit::Pool::new([Quota::tokens_per_minute(1_000_000)]);
    let policy = Policy::new()
        .pool(&pool)
        .concurrency(8)
        .quota(Quota::requests_per_second(40))
        .deadline(20 * S)
        .max_waiting(50);
    let layer = under(policy).request_hook(|outgoing: Outgoing| async move {
        tokio::time::sleep(S / 7).await;
        Ok(outgoing)
    });
    let (handle, endpoint) = (layer.handle(), layer.layer(Server::new(replies)));
    let mut calls = tokio::task::JoinSet::new();
    for n in 0..1_500_u64 {
        let call = endpoint.clone().oneshot(chat("hello", true));
        let patience = Duration::from_millis(random(4_000));
        calls.spawn(tokio::time::timeout(patience, async move {
            if let Ok(response) = call.await {
                let _ = response.into_body().collect().await;
            }
        }));
        tokio::time::sleep(Duration::from_millis(random(30))).await;
        if n % 100 == 99 {
            handle.set_policy(handle.policy().concurrency(4 + random(8) as usize)).unwrap();
        }
    }
    calls.join_all().await;
    handle.close(Closing::Drain);
    tokio::time::timeout(S, handle.drained()).await.unwrap();
    assert_eq!((handle.in_flight(), handle.waiting()), (0, 0));
    assert_eq!(handle.concurrency().unwrap().in_flight(), 0);
    assert_eq!(pool.snapshot().in_flight(), 0);
    tokio::time::sleep(120 * S).await;
    assert_eq!(handle.available()[0].1, 40);
    assert_eq!(pool.snapshot().available()[0].1, 1_000_000);
}

// `EndpointError` is "one line that says it all": with keys it does not say why.
#[tokio::test(start_paused = true)]
async fn the_error_of_a_key_says_why() {
    let open = async |keyed: bool| {
        let layer = under(Policy::new().fail_fast());
        if keyed {
            let layer = layer.by_key(|_: &route::RequestView<'_>| 7);
            let of_key = layer.handle().of(&7).unwrap();
            of_key.isolate();
            return layer.layer(quick()).oneshot(chat("hello", false)).await.unwrap_err();
        }
        layer.handle().isolate();
        layer.layer(quick()).oneshot(chat("hello", false)).await.unwrap_err()
    };
    let (why, keyed) = (open(false).await, open(true).await);
    assert!(keyed.to_string().contains(&why.cause().to_string()), "{keyed} / {why}");
}

// The example of `KeyedEndpointLayer`: the policy has no quota of tokens, those of the keys have.
#[tokio::test(start_paused = true)]
async fn the_token_quota_of_a_key_is_drawn_on() {
    let layer = under(Policy::interactive())
        .by_key(|_: &route::RequestView<'_>| 7)
        .quotas(|_: &i32| vec![Quota::tokens_per_minute(200_000)]);
    let endpoint = layer.layer(quick());
    let of_key = layer.handle().of(&7).unwrap();
    let response = endpoint.oneshot(chat(&"word ".repeat(40_000), false)).await.unwrap();
    response.into_body().collect().await.unwrap();
    let left = of_key.available()[0].1;
    assert!(left < 160_000, "{left}");
}

// Everything has been read: the end marker says so.
#[tokio::test(start_paused = true)]
async fn a_whole_stream_is_handed_on_at_its_end_marker() {
    let server = Server::new([Reply::stream([word("a"), done(), Step::Wait(100_000 * S)])]);
    let endpoint = under(Policy::new().whole_answers(1 << 20)).layer(server);
    let start = Instant::now();
    endpoint.oneshot(chat("hello", true)).await.unwrap();
    assert!(start.elapsed() < 30 * S, "{:?}", start.elapsed());
}

// Options that travel in a task-local hold with policies too.
#[tokio::test(start_paused = true)]
async fn the_options_of_a_task_hold_through_policies() {
    let mut down = Reply::of("application/json", [data("{}")]);
    down.status = 503;
    let server = Server::new([down]);
    let service = PoliciesLayer::new(Policies::new().otherwise(under(Policy::new())))
        .unwrap()
        .layer(server.clone());
    let response = CallOptions::new()
        .without_retry()
        .scope(service.clone().oneshot(chat("hello", false)))
        .await
        .unwrap();
    assert_eq!((response.status().as_u16(), server.seen()), (503, 1));
    let slow = PoliciesLayer::new(Policies::new().otherwise(under(Policy::new().deadline(100 * S))))
        .unwrap()
        .layer(silent());
    let start = Instant::now();
    let error = CallOptions::new()
        .with_deadline(start + 3 * S)
        .scope(slow.oneshot(chat("hello", false)))
        .await
        .unwrap_err();
    assert!(find::<DeadlinePassed>(&error).is_some() && start.elapsed() < 4 * S, "{error}");
}

// Bytes, frames and trailers of what passes, and of what is treated.
#[tokio::test(start_paused = true)]
async fn trailers_pass() {
    let mut trailers = http::HeaderMap::new();
    trailers.insert("x-end", "1".parse().unwrap());
    let reply = Reply::stream([word("a"), done(), Step::Trailers(trailers.clone())]);
    for policies in [Policies::new(), Policies::new().otherwise(under(Policy::new()))] {
        let service = PoliciesLayer::new(policies).unwrap().layer(Server::new([reply.clone()]));
        let body = service.oneshot(chat("hello", true)).await.unwrap().into_body().collect().await.unwrap();
        assert_eq!(body.trailers(), Some(&trailers));
    }
}

// Odd JSON is sent as it is, or changed into what says the same.
#[tokio::test(start_paused = true)]
async fn odd_requests_that_shall_ask_for_usage_stay_json() {
    let seen: Arc<std::sync::Mutex<Vec<(Option<String>, Bytes)>>> = Arc::default();
    let saw = Arc::clone(&seen);
    let client = service_fn(move |request: Request| {
        let saw = Arc::clone(&saw);
        async move {
            let length =
                request.headers().get("content-length").map(|value| value.to_str().unwrap().to_owned());
            let body = request.into_body().collect().await.unwrap().to_bytes();
            saw.lock().unwrap().push((length, body));
            Ok::<_, io::Error>(Response::new(Full::from("{}")))
        }
    });
    let endpoint = under(Policy::new().include_usage()).layer(client);
    let deep = format!(r#"{{"a":{}{},"stream":true}}"#, "[".repeat(100_000), "]".repeat(100_000));
    let bodies = [
        r#"{"stream":true,"stream":true}"#,
        r#"{"str\u0065am":true}"#,
        r#"{"stream":true,"stream_options":{}}"#,
        r#"{"stream":true,"stream_options":{"a":1}}"#,
        r#"{"stream":true,"stream_\u006fptions":null}"#,
        r#"{"stream":true,"stream_options":[]}"#,
        r#"{"stream":true,"stream_options":"{}"}"#,
        "\u{feff}{\"stream\":true}",
        " \n{ \"stream\" : true }\n",
        "{",
        "",
        r#"{"stream":true}{"stream":true}"#,
        r#"{"stream":true,"stream_options":{"\u0069nclude_usage":false}}"#,
        &deep,
        r#"{"stream":true,"stream_options":   null   }"#,
    ];
    for body in bodies {
        let request: Request = http::Request::post("/v1/chat/completions")
            .header("content-length", body.len())
            .body(Full::from(body.to_owned()))
            .unwrap();
        endpoint.clone().oneshot(request).await.unwrap();
        let (length, sent) = seen.lock().unwrap().pop().unwrap();
        assert_eq!(length.unwrap(), sent.len().to_string(), "{body:.60}");
        let before = serde_json::from_str::<serde_json::Value>(body);
        let after = serde_json::from_slice::<serde_json::Value>(&sent);
        assert_eq!(before.is_ok(), after.is_ok(), "{body:.60} {:.100}", String::from_utf8_lossy(&sent));
        if let (Ok(before), Ok(mut after)) = (before, after) {
            let text = String::from_utf8_lossy(&sent).into_owned();
            assert!(text.matches("include_usage").count() <= 1, "{text}");
            if after != before {
                assert_eq!(after["stream_options"]["include_usage"], true, "{text}");
                after["stream_options"] = before["stream_options"].clone();
                if before.get("stream_options").is_none() {
                    after.as_object_mut().unwrap().remove("stream_options");
                }
                assert_eq!(after, before);
            }
        }
    }
}

// "For a later run that shall not start blind": until the first answer its tokens are not counted.
#[tokio::test(start_paused = true)]
async fn a_token_quota_that_is_remembered_is_drawn_on_from_the_first_call_on() {
    let mut reply = Reply::of("application/json", [data("{}")]);
    reply.headers.extend([
        ("x-ratelimit-limit-tokens", "200000".to_owned()),
        ("x-ratelimit-remaining-tokens", "199990".to_owned()),
        ("x-ratelimit-reset-tokens", "3ms".to_owned()),
    ]);
    let before = under(Policy::new());
    before.layer(Server::new([reply])).oneshot(chat("hello", false)).await.unwrap();
    let learned = before.handle().learned();
    let layer = under(Policy::new());
    let handle = layer.handle();
    handle.remember(&learned);
    assert_eq!(handle.available().len(), 1);
    let _call = tokio::spawn(layer.layer(silent()).oneshot(chat(&"word ".repeat(40_000), false)));
    tokio::task::yield_now().await;
    let left = handle.available()[0].1;
    assert!(left < 160_000, "{left}");
}

// Levels of keys at rest are taken by their place: a new policy with another order mixes them up.
#[tokio::test(start_paused = true)]
async fn a_key_at_rest_keeps_its_levels_under_a_new_policy() {
    let (requests, tokens) = (Quota::requests_per_day(10).burst(10), Quota::tokens_per_day(1_000_000));
    let name =
        |request: &route::RequestView<'_>| request.headers().unwrap()["x-key"].to_str().unwrap().to_owned();
    let layer = under(Policy::new().quota(requests)).by_key(name);
    let (handle, endpoint) = (layer.handle(), layer.layer(quick()));
    for _ in 0..10 {
        let mut request = chat("hello", false);
        request.headers_mut().insert("x-key", "a".parse().unwrap());
        endpoint.clone().oneshot(request).await.unwrap().into_body().collect().await.unwrap();
    }
    // Others come and go, until it is at rest.
    for key in 0..5_000 {
        drop(handle.of(&key.to_string()).unwrap());
    }
    handle.set_policy(Policy::new().quota(tokens).quota(requests)).unwrap();
    let available = handle.of(&"a".to_owned()).unwrap().available();
    assert_eq!((available[0].1, available[1].1), (1_000_000, 0));
}

// As a `static` does it: nothing needs a runtime until a call is made, whichever runtime that is.
#[test]
fn layers_are_made_outside_of_a_runtime_and_used_in_several() {
    let pool = aplomb::rate_limit::Pool::new([Quota::requests_per_second(1_000)]);
    let layer = under(
        Policy::interactive()
            .pool(&pool)
            .concurrency(2)
            .quota(Quota::requests_per_second(20).burst(1)),
    );
    let policies = PoliciesLayer::new(Policies::new().otherwise(layer.clone().by_account())).unwrap();
    let (endpoint, service) = (layer.layer(quick()), policies.layer(quick()));
    for _ in 0..3 {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let (endpoint, service) = (endpoint.clone(), service.clone());
        runtime.block_on(async move {
            for _ in 0..3 {
                assert!(endpoint.clone().oneshot(chat("hello", false)).await.is_ok());
                assert!(service.clone().oneshot(chat("hello", false)).await.is_ok());
            }
            // Left waiting when the runtime goes away.
            for _ in 0..5 {
                tokio::spawn(endpoint.clone().oneshot(chat("hello", false)));
            }
            tokio::task::yield_now().await;
        });
    }
    assert_eq!((layer.handle().waiting(), layer.handle().in_flight()), (0, 0));
}

// What was learned in the first attempt counts in the second.
#[tokio::test(start_paused = true)]
async fn a_retry_draws_on_the_token_quota_that_was_learned_meanwhile() {
    let mut down = Reply::of("application/json", [data("{}")]);
    down.status = 503;
    down.headers.extend([
        ("x-ratelimit-limit-tokens", "200000".to_owned()),
        ("x-ratelimit-remaining-tokens", "200000".to_owned()),
        ("x-ratelimit-reset-tokens", "0s".to_owned()),
    ]);
    let layer = under(Policy::new());
    let (handle, endpoint) = (
        layer.handle(),
        layer.layer(Server::new([down, Reply::of("application/json", [data("{}")]).after(60 * S)])),
    );
    let _call = tokio::spawn(endpoint.oneshot(chat(&"word ".repeat(40_000), false)));
    tokio::time::sleep(5 * S).await;
    let left = handle.available();
    assert!(left.iter().any(|(quota, left)| quota.amount() == 200_000 && *left < 170_000), "{left:?}");
}

mod of_providers {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
    use std::time::Duration;

    use aplomb::Policy;
    use aplomb::rate_limit::{Pool, Quota};
    use bytes::Bytes;
    use http_body_util::Full;
    use tokio::time::Instant;
    use tower::{Layer, ServiceExt, service_fn};

    use crate::calls::{chat, under};

    /// `Policy::batch` says that a server may ask for ten minutes, and its calls wait so long; with a pool beside it they
    /// are refused after the first 429 that asks for more than two, as the policy's `max_retry_after` is only set for the
    /// endpoint's own quotas (`endpoint/gates.rs`), and the pool keeps its own 120 s.
    async fn a_batch_waits_as_long_as_the_server_asks(policy: Policy) {
        let sent = Arc::new(AtomicU32::new(0));
        let client = service_fn(move |_: http::Request<Full<Bytes>>| {
            let first = sent.fetch_add(1, Relaxed) == 0;
            async move {
                let answer = http::Response::builder();
                let answer = if first {
                    answer.status(429).header("retry-after", "300")
                } else {
                    answer
                };
                Ok::<_, std::io::Error>(
                    answer.header("content-type", "application/json").body(Full::from("{}")).unwrap(),
                )
            }
        });
        let start = Instant::now();
        let answer = under(policy).layer(client).oneshot(chat("p", false)).await;
        let answer = answer.unwrap_or_else(|error| panic!("after {:?}: {error}", start.elapsed()));
        assert_eq!(answer.status(), 200);
        assert!(start.elapsed() >= Duration::from_secs(300));
    }

    /// Holds.
    #[tokio::test(start_paused = true)]
    async fn a_batch_alone_waits_as_long_as_the_server_asks() {
        a_batch_waits_as_long_as_the_server_asks(Policy::batch()).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_batch_in_a_pool_waits_as_long_as_the_server_asks() {
        let pool = Pool::new([Quota::requests_per_minute(60)]);
        a_batch_waits_as_long_as_the_server_asks(Policy::batch().pool(&pool)).await;
    }

    /// Holds: a wait that no clock can count to ends nothing but the call.
    #[tokio::test(start_paused = true)]
    async fn an_absurd_wait_panics_nowhere() {
        for (header, body) in [
            ("18446744073709551615", "{}"),
            ("9223372036", "{}"),
            ("x", r#"{"error": {"retry_after": 1.8e19}}"#),
            ("x", r#"{"error": {"retry_after": 9.2e18}}"#),
            ("x", r#"{"error": {"message": "try again in 18446744073709551615s"}}"#),
            ("x", r#"{"error": {"details": [{"retryDelay": {"seconds": 18446744073709551615}}]}}"#),
        ] {
            for status in [429, 503, 402, 500] {
                for batch in [true, false] {
                    let pool = Pool::new([Quota::requests_per_minute(600)]);
                    let client = service_fn(move |_: http::Request<Full<Bytes>>| async move {
                        let answer = http::Response::builder().status(status).header("retry-after", header);
                        Ok::<_, std::io::Error>(answer.body(Full::from(body)).unwrap())
                    });
                    let policy = if batch {
                        Policy::batch().max_wait(Duration::from_secs(60))
                    } else {
                        Policy::new()
                    };
                    let policy = policy.pool(&pool).max_retry_after(Duration::MAX).max_retries(2);
                    let Ok(layer) = aplomb::EndpointLayer::with_policy(aplomb::provider::Generic, policy)
                    else {
                        panic!("invalid")
                    };
                    let service = layer.layer(client);
                    for _ in 0..8 {
                        let call = service.clone().oneshot(chat("p", false));
                        let _ = tokio::time::timeout(Duration::from_secs(3_600), call).await;
                    }
                    let _ = format!("{:?}", pool.snapshot());
                }
            }
        }
    }
}
