//! Odd requests, and extreme numbers.

use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aplomb::provider::Generic;
use aplomb::rate_limit::{Charge, Pool, Quota};
use aplomb::{EndpointLayer, OutgoingRequest, Policy};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use tower::{Layer, ServiceExt, service_fn};

use crate::calls::{chat, under};
use crate::script::{Reply, Server};

const S: Duration = Duration::from_secs(1);

type Request = http::Request<Full<Bytes>>;
type Response = http::Response<Full<Bytes>>;

// No sum of the largest numbers there are overflows.
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
    let mut throttled = Reply::json(429);
    throttled.headers.push(("retry-after", "18446744073709551615".into()));
    let layer = under(policy).request_hook(|outgoing: OutgoingRequest| async move { Ok(outgoing) });
    let endpoint = layer.layer(Server::new([Reply::json(503), Reply::json(200), throttled]));
    let mut request = chat("hello", false);
    request
        .extensions_mut()
        .insert(Charge::request().input_tokens(u64::MAX).output_tokens(u64::MAX));
    let result = endpoint.clone().oneshot(chat("hello", false)).await;
    assert_eq!(result.unwrap().status(), 200);
    let _ = tokio::time::timeout(100_000 * S, endpoint.clone().oneshot(request)).await;
    let _ = tokio::time::timeout(100_000 * S, endpoint.clone().oneshot(chat("hello", false))).await;
    let body = r#"{"model":"m","max_tokens":18446744073709551615,"n":18446744073709551615,"messages":[{"role":"user","content":"a"}]}"#;
    let request: Request = http::Request::post("/v1/chat/completions").body(Full::from(body)).unwrap();
    let _ = tokio::time::timeout(100_000 * S, endpoint.oneshot(request)).await;
}

// Clients that ignore such a port would send the request, and its credential, to the default port of the scheme.
#[tokio::test(start_paused = true)]
async fn a_request_to_a_port_that_is_no_port_is_not_sent() {
    let server = Server::new([Reply::json(200)]);
    let endpoint = under(Policy::new()).layer(server.clone());
    let to = |uri: &str| {
        let mut request = chat("hello", false);
        *request.uri_mut() = uri.parse().unwrap();
        endpoint.clone().oneshot(request)
    };
    for uri in [
        "http://host:99999/v1",
        "https://user:1@host:65536/",
        "http://[::1]:080808/",
    ] {
        let error = to(uri).await.unwrap_err();
        let shown = error.to_string();
        assert!(shown.contains("permanent failure (invalid URL: the port is not a number"), "{shown}");
        assert_eq!((server.seen(), error.report().sent()), (0, 1), "{uri}");
    }
    for uri in [
        "http://host/v1",
        "http://host:/v1",
        "https://user:1@host:65535/",
        "http://[::1]:80/",
        "/v1",
    ] {
        assert_eq!(to(uri).await.unwrap().status(), 200, "{uri}");
    }
}

// A wait beyond the range of the clock ends only the call.
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
                let client = service_fn(move |_: Request| async move {
                    let answer = http::Response::builder().status(status).header("retry-after", header);
                    Ok::<_, io::Error>(answer.body(Full::from(body)).unwrap())
                });
                let policy = if batch {
                    Policy::batch().max_wait(Duration::from_secs(60))
                } else {
                    Policy::new()
                };
                let policy = policy.pool(&pool).max_retry_after(Duration::MAX).max_retries(2);
                let Ok(layer) = EndpointLayer::with_policy(Generic, policy) else {
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

// Odd JSON is sent as it is, or changed into equivalent JSON that asks for the usage.
#[tokio::test(start_paused = true)]
async fn odd_requests_that_shall_ask_for_usage_stay_json() {
    let seen = Arc::new(Mutex::new(Vec::<(Option<String>, Bytes)>::new()));
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

// A checksum is of the body as it was.
#[tokio::test(start_paused = true)]
async fn a_changed_request_carries_no_checksum_of_the_old_body() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let saw = Arc::clone(&seen);
    let client = service_fn(move |request: Request| {
        saw.lock().unwrap().push(request.headers().clone());
        std::future::ready(Ok::<_, io::Error>(Response::new(Full::from("{}"))))
    });
    let digests = ["content-digest", "repr-digest", "digest", "content-md5"];
    let endpoint = under(Policy::new().include_usage()).layer(client);
    for stream in [true, false] {
        let mut request = chat("hello", stream);
        for name in digests {
            request.headers_mut().insert(name, "sha-256=:abc=:".parse().unwrap());
        }
        endpoint.clone().oneshot(request).await.unwrap();
        let headers = seen.lock().unwrap().pop().unwrap();
        for name in digests {
            assert_eq!(headers.contains_key(name), !stream, "{name}");
        }
    }
}
