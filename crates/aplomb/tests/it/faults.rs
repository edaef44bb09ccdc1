//! Every fault of the mock, one at a time.

use std::time::Duration;

use aplomb::provider::{Anthropic, OpenAi};
use aplomb::rate_limit::{Charge, Quota, RateLimited};
use aplomb::{
    BrokenAnswer, CallOptions, Closing, DeadlinePassed, EndpointLayer, LayerName, Policy, Rejection,
    TimedOut, Timeout, find,
};
use aplomb_mock::{Fault, Mock, Plan, answer};
use tokio::time::Instant;
use tower::Layer;

use crate::calls::{ask, chat, under};

const S: Duration = Duration::from_secs(1);

fn policy() -> Policy {
    Policy::new().attempt_timeout(2 * S).whole_answers(1 << 20)
}

#[tokio::test(start_paused = true)]
async fn whatever_goes_wrong_once_is_sent_again_and_answered() {
    for fault in Fault::each(S) {
        for stream in [false, true] {
            let mock = Mock::builder().plan(Plan::default().attempt(1, fault)).build();
            let (parts, body) =
                ask(under(policy()).layer(mock.clone()), chat("hello", stream)).await.unwrap();
            assert!(parts.status.is_success(), "{fault:?}");
            let expected = answer("hello", 16);
            let last = expected.rsplit(' ').next().unwrap();
            assert!(body.contains(last), "{fault:?} {stream}: {body}");
            let spared = fault.spares_the_answer() || mock.stats().seen == 2;
            assert!(spared, "{fault:?}: {:?}", mock.stats());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_broken_answer_is_an_error_and_never_an_answer() {
    for fault in [Fault::Unfinished, Fault::StreamError, Fault::LateStreamError] {
        let mock = Mock::builder().plan(Plan::script([Some(fault)])).build();
        let error = ask(under(policy().max_retries(0)).layer(mock), chat("hello", true)).await.unwrap_err();
        assert!(find::<BrokenAnswer>(&*error).is_some(), "{fault:?}: {error}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_never_ends_is_given_up_and_called_what_it_is() {
    let policy = Policy::new().idle_timeout(3 * S).content_timeout(3 * S).max_retries(0);
    let openai = EndpointLayer::with_policy(OpenAi, policy.clone()).unwrap();
    let anthropic = EndpointLayer::with_policy(Anthropic, policy).unwrap();
    let ask = async |layer: &EndpointLayer, path: &str, stream: bool, fault: Fault| {
        let mock = Mock::builder().plan(Plan::script([Some(fault)])).build();
        let mut request = chat("hello", stream);
        *request.uri_mut() = path.parse().unwrap();
        ask(layer.layer(mock), request).await
    };
    for (fault, stream, timeout) in [
        (Fault::OnlyPings(S), true, Timeout::Content),
        (Fault::LatePings(S), true, Timeout::Idle),
        (Fault::Stall, true, Timeout::Idle),
        (Fault::Stall, false, Timeout::Idle),
        (Fault::OnlyPings(S), false, Timeout::Content),
    ] {
        let openai = ask(&openai, "/v1/chat/completions", stream, fault).await;
        let anthropic = ask(&anthropic, "/v1/messages", stream, fault).await;
        for error in [openai.unwrap_err(), anthropic.unwrap_err()] {
            let timed_out = find::<TimedOut>(&*error).unwrap_or_else(|| panic!("{fault:?}: {error}"));
            assert_eq!((timed_out.timeout(), timed_out.after()), (timeout, 3 * S), "{fault:?} {stream}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn the_last_answer_comes_back_as_it_was() {
    let mock = Mock::builder().plan(Plan::script([Some(Fault::UnavailableFor(300 * S))])).build();
    let (parts, body) = ask(under(policy()).layer(mock), chat("hello", false)).await.unwrap();
    assert_eq!(parts.status, 503);
    assert_eq!(parts.headers["retry-after"], "300");
    assert!(body.starts_with('{') && body.ends_with('}'), "{body}");
}

#[tokio::test(start_paused = true)]
async fn a_call_ends_at_its_deadline() {
    let mock = Mock::builder().plan(Plan::script(vec![Some(Fault::Hang); 9])).build();
    let start = Instant::now();
    let endpoint = under(policy().deadline(3 * S)).layer(mock.clone());
    let error = ask(endpoint, chat("hello", false)).await.unwrap_err();
    assert!(find::<DeadlinePassed>(&*error).is_some(), "{error}");
    let refused = find::<Rejection>(&*error).unwrap();
    assert_eq!((refused.layer(), refused.attempts()), (LayerName::Endpoint, 2));
    assert_eq!(refused.last().unwrap().kind(), aplomb::Kind::Transient);
    assert!(start.elapsed() <= 3 * S + Duration::from_millis(2));

    let mut request = chat("hello", false);
    request.extensions_mut().insert(CallOptions::new().with_deadline(Instant::now() + S));
    let start = Instant::now();
    assert!(ask(under(policy()).layer(mock), request).await.is_err());
    assert!(start.elapsed() <= S + Duration::from_millis(2));
}

#[tokio::test(start_paused = true)]
async fn a_charge_in_the_extensions_is_drawn_from_the_tokens() {
    let layer = under(policy().quotas([Quota::tokens_per_minute(1_000)]));
    let handle = layer.handle();
    let endpoint = layer.layer(Mock::builder().build());
    let mut request = chat("hello", false);
    request.extensions_mut().insert(Charge::request().input_tokens(600));
    ask(endpoint.clone(), request).await.unwrap();
    assert_eq!(handle.available()[0].1, 400);

    let mut request = chat("hello", false);
    request.extensions_mut().insert(Charge::request().input_tokens(1_001));
    let error = ask(endpoint, request).await.unwrap_err();
    assert!(find::<RateLimited>(&*error).is_some());
}

#[tokio::test(start_paused = true)]
async fn a_closed_endpoint_refuses() {
    let layer = under(policy());
    layer.handle().close(Closing::Drain);
    let error = ask(layer.layer(Mock::builder().build()), chat("hello", false)).await.unwrap_err();
    assert_eq!(find::<Rejection>(&*error).unwrap().reason(), Some("closed"));
}

#[tokio::test(start_paused = true)]
async fn nothing_shows_the_key_or_the_prompt() {
    let mock = Mock::builder().plan(Plan::script(vec![Some(Fault::Reset); 9])).build();
    let endpoint = under(policy().max_retries(1)).layer(mock);
    let mut request = chat("a secret prompt", false);
    request.headers_mut().insert("authorization", "Bearer sk-secret".parse().unwrap());
    let shown = format!("{:?} {endpoint:?} {:?}", under(policy()), under(policy()).handle());
    let error = ask(endpoint, request).await.unwrap_err();
    let shown = format!("{shown} {error} {error:?}");
    assert!(!shown.contains("secret"), "{shown}");
}

#[tokio::test(start_paused = true)]
async fn an_errors_body_that_never_ends_is_not_waited_for() {
    use http_body_util::BodyExt;
    use tower::ServiceExt;

    /// Sends a little, and then nothing any more.
    struct Trickle(Option<bytes::Bytes>);

    impl http_body::Body for Trickle {
        type Data = bytes::Bytes;
        type Error = std::io::Error;

        fn poll_frame(
            mut self: std::pin::Pin<&mut Self>,
            _: &mut std::task::Context<'_>,
        ) -> std::task::Poll<Option<Result<http_body::Frame<bytes::Bytes>, std::io::Error>>> {
            match self.0.take() {
                Some(data) => std::task::Poll::Ready(Some(Ok(http_body::Frame::data(data)))),
                None => std::task::Poll::Pending,
            }
        }
    }

    let client = tower::service_fn(async |_: http::Request<String>| {
        let body = Trickle(Some("{".into()));
        Ok::<_, std::io::Error>(http::Response::builder().status(400).body(body).unwrap())
    });
    let start = Instant::now();
    let response = EndpointLayer::new(OpenAi)
        .layer(client)
        .oneshot(http::Request::new(String::new()))
        .await
        .unwrap();
    assert_eq!(response.status(), 400);
    assert!(start.elapsed() <= 6 * S);
    let mut body = response.into_body();
    assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "{");
}

/// The causes of retries, as they are logged, when the first attempt fails with `fault`.
async fn logged(fault: Fault, stream: bool) -> String {
    let lines = std::sync::Arc::new(std::sync::Mutex::new(String::new()));
    let observer = {
        let lines = std::sync::Arc::clone(&lines);
        move |event: &aplomb::Event| {
            if let aplomb::EventKind::Retrying { failed, .. } = event.kind() {
                lines.lock().unwrap().push_str(&failed.to_string());
            }
        }
    };
    let mock = Mock::builder().plan(Plan::script([Some(fault)])).build();
    ask(under(policy()).observer(observer).layer(mock), chat("hello", stream)).await.unwrap();
    let lines = lines.lock().unwrap();
    lines.clone()
}

#[tokio::test(start_paused = true)]
async fn a_retry_says_what_failed_why_and_where() {
    for (fault, stream, line) in [
        (Fault::Unavailable, false, "503 overloaded (openai)"),
        (Fault::InternalError, false, "500 server error (openai)"),
        (Fault::Reset, false, "connection reset by the mock (openai)"),
        (Fault::Hang, false, "the answer did not end within 2s (openai)"),
        (Fault::Truncate, false, "the connection was cut in mid-body (openai)"),
        (Fault::StreamError, true, "200 server error (openai)"),
    ] {
        assert_eq!(logged(fault, stream).await, line, "{fault:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_observer_is_told_of_every_attempt() {
    let told = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let observer = {
        let told = std::sync::Arc::clone(&told);
        move |event: &aplomb::Event| told.lock().unwrap().push(format!("{:?}", event.kind()))
    };
    let mock = Mock::builder().plan(Plan::script([Some(Fault::Reset)])).build();
    ask(under(policy()).observer(observer).layer(mock), chat("hello", false)).await.unwrap();
    let told = told.lock().unwrap();
    let kinds: Vec<_> = told.iter().map(|event| event.split(' ').next().unwrap()).collect();
    assert_eq!(
        kinds,
        [
            "AttemptStarted",
            "AttemptEnded",
            "Retrying",
            "AttemptStarted",
            "AttemptEnded",
            "Recovered"
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn a_redirect_passes_as_it_is() {
    let client = tower::service_fn(async |_: http::Request<String>| {
        let response = http::Response::builder().status(302).header("location", "/elsewhere");
        Ok::<_, std::io::Error>(response.body(http_body_util::Full::<bytes::Bytes>::from("moved")).unwrap())
    });
    let response =
        tower::ServiceExt::oneshot(under(policy()).layer(client), http::Request::new(String::new()))
            .await
            .unwrap();
    assert_eq!(response.status(), 302);
}

#[tokio::test(start_paused = true)]
async fn no_content_and_compressed_answers_are_whole() {
    let client = |status: u16, encoding: Option<&'static str>| {
        tower::service_fn(move |_: http::Request<String>| async move {
            let mut response =
                http::Response::builder().status(status).header("content-type", "application/json");
            if let Some(encoding) = encoding {
                response = response.header("content-encoding", encoding);
            }
            let body =
                http_body_util::Full::<bytes::Bytes>::from(if status == 204 { "" } else { "\u{1f}\u{8b}" });
            Ok::<_, std::io::Error>(response.body(body).unwrap())
        })
    };
    for client in [client(204, None), client(200, Some("gzip"))] {
        let response =
            tower::ServiceExt::oneshot(under(policy()).layer(client), http::Request::new(String::new()))
                .await
                .unwrap();
        assert!(response.status().is_success());
    }
    let cut = tower::ServiceExt::oneshot(
        under(policy().max_retries(0)).layer(client(200, None)),
        http::Request::new(String::new()),
    );
    assert!(find::<BrokenAnswer>(&cut.await.unwrap_err()).is_some());
}

#[tokio::test(start_paused = true)]
async fn extreme_settings_and_hints_do_not_panic() {
    let client = tower::service_fn(async |_: http::Request<String>| {
        let response = http::Response::builder().status(429).header("retry-after", "9999999999999999999");
        Ok::<_, std::io::Error>(response.body(http_body_util::Full::<bytes::Bytes>::from("{")).unwrap())
    });
    let endpoint = under(
        policy()
            .max_retry_after(Duration::MAX)
            .max_wait(Duration::MAX)
            .attempt_timeout(Duration::MAX)
            .deadline(10 * S),
    )
    .layer(client);
    assert!(tower::ServiceExt::oneshot(endpoint, http::Request::new(String::new())).await.is_ok());
}
