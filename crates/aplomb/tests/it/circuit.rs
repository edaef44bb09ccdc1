//! The circuit of an endpoint: how it lets the calls in again, and how it is switched.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aplomb::circuit_breaker::{CircuitOpen, CircuitState, Ramp};
use aplomb::provider::OpenAi;
use aplomb::{BoxError, EndpointLayer, Policy, find};
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use tower::{Layer, Service, ServiceExt, service_fn};

const S: Duration = Duration::from_secs(1);

use crate::calls::under;

type Res = Response<Full<Bytes>>;

/// Is down for the first 5 s; answers after 1 s from then on. Notes when each call came that it answered.
fn client(
    answered: &Arc<Mutex<Vec<Duration>>>,
) -> impl Service<Request<String>, Response = Res, Error = BoxError, Future: Send> + Clone + Send + 'static {
    let (answered, start) = (Arc::clone(answered), Instant::now());
    service_fn(move |_: Request<String>| {
        let answered = Arc::clone(&answered);
        async move {
            let at = start.elapsed();
            let mut response = Response::new(Full::from("{}"));
            if at < 5 * S {
                sleep(S / 50).await;
                *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
            } else {
                answered.lock().unwrap().push(at);
                sleep(S).await;
            }
            Ok(response)
        }
    })
}

/// Asks, and reads the answer: a probe is judged by its content.
async fn ask<S, B>(endpoint: S) -> Result<StatusCode, BoxError>
where
    S: Service<Request<String>, Response = Response<B>, Error: Into<BoxError>>,
    B: http_body::Body<Error: Into<BoxError>>,
{
    let answer = endpoint.oneshot(Request::new(String::new())).await.map_err(Into::into)?;
    let status = answer.status();
    answer.into_body().collect().await.map_err(Into::into)?;
    Ok(status)
}

#[tokio::test(start_paused = true)]
async fn promise_30_a_batch_that_waited_for_an_outage_is_let_in_little_by_little() {
    let answered = Arc::default();
    let endpoint = EndpointLayer::new(OpenAi).layer(client(&answered));
    let mut calls = JoinSet::new();
    for _ in 0..63 {
        calls.spawn(ask(endpoint.clone()));
    }
    assert!(
        calls
            .join_all()
            .await
            .into_iter()
            .all(|answer| answer.is_ok_and(|status| status.is_success()))
    );
    // The probe, then twice as many each time it would have taken several of them to fail: an answer takes a second, a
    // failure nothing.
    let answered = answered.lock().unwrap();
    let mut waves = vec![0];
    for pair in answered.windows(2) {
        *waves.last_mut().unwrap() += 1;
        if pair[1] > pair[0] + S / 100 {
            waves.push(0);
        }
    }
    *waves.last_mut().unwrap() += 1;
    assert_eq!(waves, [1, 2, 4, 8, 16, 32]);
    assert!(answered[62] < answered[0] + S, "{answered:?}");
}

#[tokio::test(start_paused = true)]
async fn promise_32_the_circuit_of_an_endpoint_is_switched_and_watched() {
    let calls = Arc::new(AtomicUsize::new(0));
    let counting = Arc::clone(&calls);
    let client = service_fn(move |_: Request<String>| {
        counting.fetch_add(1, Ordering::Relaxed);
        std::future::ready(Ok::<Res, BoxError>(Response::new(Full::from("{}"))))
    });
    let layer = under(Policy::new().ramp(Ramp::none()));
    let (handle, endpoint) = (layer.handle(), layer.layer(client));
    let mut watch = handle.watch_circuit().unwrap();
    let ask = || ask(endpoint.clone());

    handle.isolate();
    assert!(watch.has_changed().unwrap());
    assert_eq!(*watch.borrow_and_update(), CircuitState::Isolated);
    let error = ask().await.unwrap_err();
    assert_eq!(find::<CircuitOpen>(&*error).unwrap().state(), CircuitState::Isolated);
    handle.disable();
    assert!(ask().await.is_ok());
    assert_eq!(*watch.borrow_and_update(), CircuitState::Disabled);
    handle.force_open();
    // The calls wait for it, and the first of them is the probe.
    assert!(ask().await.is_ok());
    assert_eq!(*watch.borrow_and_update(), CircuitState::Closed);
    handle.force_open();
    handle.force_closed();
    assert_eq!(handle.circuit().unwrap().state(), CircuitState::Closed);
    assert_eq!(calls.load(Ordering::Relaxed), 2);
}
