//! Request bodies that cannot be copied: promise 14.

use aplomb_core::{BoxError, CallOptions, HttpClassifier, Recorded, ReplayBody, StopReason};
use aplomb_retry::{Budget, Retried, RetryLayer};
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, StreamBody};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tower::{ServiceExt, service_fn};
use tower_layer::Layer;

use crate::peer::secs;

type Sent = ReplayBody<BoxBody<Bytes, BoxError>>;

/// A body in two frames that cannot be copied.
fn stream() -> Request<BoxBody<Bytes, BoxError>> {
    let frames = ["first, ", "second"].map(|text| Ok(http_body::Frame::data(Bytes::from(text))));
    Request::new(BodyExt::boxed(StreamBody::new(futures_util::stream::iter(frames))))
}

fn retry(recorded: Recorded) -> RetryLayer<Recorded, HttpClassifier> {
    RetryLayer::new().replay(recorded).drain(false).backoff(secs(60))
}

/// Answers after the first frame of the request, with the rest of it: a 503 at first, a 200 to the retry.
async fn echo_the_rest(request: Request<Sent>) -> Result<Response<Sent>, BoxError> {
    let status = if CallOptions::of(&request).attempts() == 0 {
        503
    } else {
        200
    };
    let mut body = request.into_body();
    body.frame().await.unwrap()?;
    Ok(Response::builder().status(status).body(body).unwrap())
}

/// Why the request was not sent again, and the body of the response.
async fn handed_out(response: Response<Sent>) -> (Option<StopReason>, Bytes) {
    let stopped = response.extensions().get::<Retried>().unwrap().stopped();
    (stopped, response.into_body().collect().await.unwrap().to_bytes())
}

#[tokio::test(start_paused = true)]
async fn promise_14_where_no_retry_is_left_the_answer_reads_on_in_the_request() {
    let service = retry(Recorded::new()).max_retries(0).layer(service_fn(echo_the_rest));
    let response = service.oneshot(stream()).await.unwrap();
    assert_eq!(handed_out(response).await, (Some(StopReason::MaxRetries), "second".into()));
}

#[tokio::test(start_paused = true)]
async fn promise_14_where_the_budget_refuses_the_answer_reads_on_in_the_request() {
    let nothing = Budget::new().capacity(0).min_per_second(0.0);
    let service = retry(Recorded::new()).budget(nothing).layer(service_fn(echo_the_rest));
    let response = service.oneshot(stream()).await.unwrap();
    assert_eq!(handed_out(response).await, (Some(StopReason::Budget), "second".into()));
}

#[tokio::test(start_paused = true)]
async fn promise_14_where_the_wait_is_cancelled_the_answer_reads_on_in_the_request() {
    let token = CancellationToken::new();
    let service = retry(Recorded::new()).cancellation(token.clone()).layer(service_fn(echo_the_rest));
    let call = tokio::spawn(service.oneshot(stream()));
    sleep(secs(1)).await;
    token.cancel();
    let response = call.await.unwrap().unwrap();
    assert_eq!(handed_out(response).await, (Some(StopReason::Cancelled), "second".into()));
}

#[tokio::test(start_paused = true)]
async fn promise_14_with_a_token_the_retry_begins_with_the_first_frame_again() {
    let service = retry(Recorded::new())
        .cancellation(CancellationToken::new())
        .layer(service_fn(echo_the_rest));
    let response = service.oneshot(stream()).await.unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(handed_out(response).await, (None, "second".into()));
}

#[tokio::test(start_paused = true)]
async fn promise_14_with_a_token_a_body_past_the_limit_is_known_when_the_wait_is_over() {
    let budget = Budget::new();
    let service = retry(Recorded::new().limit(3))
        .cancellation(CancellationToken::new())
        .budget(budget.clone())
        .layer(service_fn(echo_the_rest));
    let began = Instant::now();
    let response = service.oneshot(stream()).await.unwrap();
    assert_eq!(began.elapsed(), secs(60));
    assert_eq!(handed_out(response).await, (Some(StopReason::CannotReplay), "second".into()));
    assert_eq!(budget.snapshot().remaining, 500, "nothing was sent for it");
}
