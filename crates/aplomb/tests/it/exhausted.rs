//! An account without money, among 64 callers.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use aplomb::circuit_breaker::CircuitOpen;
use aplomb::provider::{Anthropic, OpenAi, Provider};
use aplomb::rate_limit::Quota;
use aplomb::{EndpointLayer, Kind, Policy, find};
use aplomb_mock::Mock;
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use tower::{Layer, Service, ServiceExt, service_fn};

const CALLERS: usize = 64;
const ANSWERED: u64 = 10;
const ROUND_TRIP: Duration = Duration::from_millis(50);

type Request = http::Request<Full<Bytes>>;

/// The header that a caller puts its key in, and the path that it asks.
#[derive(Clone, Copy)]
struct Shape {
    path: &'static str,
    credential: &'static str,
}

const SHAPES: [Shape; 2] = [
    Shape { path: "/v1/chat/completions", credential: "authorization" },
    Shape { path: "/v1/messages", credential: "x-api-key" },
];

impl Shape {
    fn provider(self) -> Arc<dyn Provider> {
        match self.credential {
            "x-api-key" => Arc::new(Anthropic),
            _ => Arc::new(OpenAi),
        }
    }

    fn request(self, account: &str) -> Request {
        let body = r#"{"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "hello"}]}"#;
        let request = http::Request::post(self.path).header(self.credential, account);
        request.body(Full::from(body)).unwrap()
    }
}

/// Every answer takes its time, so that all callers are in flight before the first knows. The account of `rich` has
/// money.
fn servers(
    poor: &Mock,
    rich: &Mock,
) -> impl Service<Request, Response = http::Response<aplomb_mock::Body>, Error = std::io::Error, Future: Send>
+ Clone
+ use<> {
    let (poor, rich) = (poor.clone(), rich.clone());
    service_fn(move |request: Request| {
        let is_rich = request.headers().values().any(|value| value.as_bytes().ends_with(b"rich"));
        let mut mock = if is_rich { rich.clone() } else { poor.clone() };
        let answer = mock.call(request);
        async move {
            let answer = answer.await;
            sleep(ROUND_TRIP).await;
            answer
        }
    })
}

#[tokio::test(start_paused = true)]
async fn once_an_account_is_exhausted_no_caller_sends_anything_and_another_account_goes_on() {
    for shape in SHAPES {
        let poor = Mock::builder().insufficient_quota_after(ANSWERED).build();
        let rich = Mock::builder().build();
        // A limit that is known and far away: nothing else holds calls back.
        let policy = Policy::new().quotas([Quota::requests_per_second(100_000)]);
        let layer = EndpointLayer::with_policy(shape.provider(), policy).unwrap().by_account();
        let endpoint = layer.layer(servers(&poor, &rich));
        let (answered, refused) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let mut callers = JoinSet::new();
        for _ in 0..CALLERS {
            let (endpoint, answered, refused) =
                (endpoint.clone(), Arc::clone(&answered), Arc::clone(&refused));
            callers.spawn(async move {
                for _ in 0..10 {
                    let start = Instant::now();
                    match endpoint.clone().oneshot(shape.request("Bearer poor")).await {
                        Ok(response) if response.status().is_success() => {
                            response.into_body().collect().await.unwrap();
                            answered.fetch_add(1, Relaxed);
                        }
                        // It was in flight, and gets the provider's response.
                        Ok(response) => assert!(response.status().is_client_error()),
                        Err(error) => {
                            let open = find::<CircuitOpen>(&error).expect("refused by the circuit");
                            assert_eq!(open.last().unwrap().kind(), Kind::Exhausted);
                            assert!(error.report().sent() == 0 || start.elapsed() >= ROUND_TRIP, "{error}");
                            refused.fetch_add(1, Relaxed);
                        }
                    }
                }
            });
        }
        callers.join_all().await;
        let seen = poor.stats().seen;
        assert_eq!(answered.load(Relaxed) as u64, ANSWERED);
        // Those that were answered had sent their next one when the first refusal arrived; then 64 were in flight at most.
        assert!(seen <= ANSWERED + CALLERS as u64, "only what was in flight already");
        assert!(refused.load(Relaxed) >= CALLERS * 10 - usize::try_from(seen).unwrap());
        // Later as well, at once and unsent; and whoever has money is served.
        sleep(Duration::from_secs(60)).await;
        let start = Instant::now();
        let error = endpoint.clone().oneshot(shape.request("Bearer poor")).await.unwrap_err();
        assert_eq!((error.report().sent(), start.elapsed(), poor.stats().seen), (0, Duration::ZERO, seen));
        let call = endpoint.oneshot(shape.request("Bearer rich"));
        assert!(call.await.unwrap().status().is_success());
    }
}
