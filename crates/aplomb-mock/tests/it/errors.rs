//! Requests that are refused whatever the limits, in the provider's format.

use aplomb_mock::Mock;
use http::Request;

use crate::support::{ANTHROPIC, Answer, OPENAI, ask, post, question, send};

fn is_openai(answer: &Answer) -> bool {
    let json = answer.json();
    json["error"]["message"].is_string()
        && json["error"]["type"].is_string()
        && json["error"].get("code").is_some()
}

fn is_anthropic(answer: &Answer) -> bool {
    let json = answer.json();
    json["type"] == "error" && json["error"]["type"].is_string() && json["request_id"].is_string()
}

#[tokio::test]
async fn bad_requests_are_400() {
    let mock = Mock::builder().build();
    for body in [
        "",
        "{",
        "{}",
        r#"{"model": "m"}"#,
        r#"{"messages": [{"role": "user", "content": "x"}]}"#,
    ] {
        let answer = send(&mock, post(OPENAI, body)).await.unwrap();
        assert!(answer.status == 400 && is_openai(&answer), "{answer:?}");
        let answer = send(&mock, post(ANTHROPIC, body)).await.unwrap();
        assert!(answer.status == 400 && is_anthropic(&answer), "{answer:?}");
    }
    assert_eq!(mock.stats().accepted, 0);
}

#[tokio::test]
async fn anthropic_requires_max_tokens() {
    let mock = Mock::builder().build();
    let mut question = question("hello");
    question.as_object_mut().unwrap().remove("max_tokens");
    assert_eq!(send(&mock, post(OPENAI, &question)).await.unwrap().status, 200);
    assert_eq!(send(&mock, post(ANTHROPIC, &question)).await.unwrap().status, 400);
}

#[tokio::test]
async fn unknown_paths_are_404_and_wrong_methods_405() {
    let mock = Mock::builder().build();
    let answer = send(&mock, post("/v1/nothing", "")).await.unwrap();
    assert!(answer.status == 404 && is_openai(&answer));
    let mut request = post("/v1/nothing", "");
    request.headers_mut().insert("anthropic-version", "2023-06-01".parse().unwrap());
    let answer = send(&mock, request).await.unwrap();
    assert!(answer.status == 404 && is_anthropic(&answer));
    assert_eq!(answer.json()["error"]["type"], "not_found_error");
    let get = Request::get(OPENAI).body(String::new()).unwrap();
    assert_eq!(send(&mock, get).await.unwrap().status, 405);
}

#[tokio::test]
async fn a_key_is_required_where_the_provider_expects_it() {
    let mock = Mock::builder().api_key("secret").build();
    let cases = [
        (OPENAI, "x-none", "", 401),
        (OPENAI, "authorization", "Bearer wrong", 401),
        (OPENAI, "x-api-key", "secret", 401),
        (OPENAI, "authorization", "Bearer secret", 200),
        (ANTHROPIC, "x-none", "", 401),
        (ANTHROPIC, "x-api-key", "wrong", 401),
        (ANTHROPIC, "x-api-key", "secret", 200),
    ];
    for (path, name, value, status) in cases {
        let mut request = post(path, question("hello"));
        request.headers_mut().insert(name, value.parse().unwrap());
        let answer = send(&mock, request).await.unwrap();
        assert_eq!(answer.status, status, "{path} {name}: {value}");
        assert!(
            status == 200
                || if path == OPENAI {
                    is_openai(&answer)
                } else {
                    is_anthropic(&answer)
                }
        );
    }
    assert!(!format!("{mock:?}").contains("secret"));
}

#[tokio::test]
async fn large_bodies_are_413() {
    let mock = Mock::builder().max_body_bytes(1000).build();
    assert_eq!(ask(&mock, &"x".repeat(800)).await.unwrap().status, 200);
    assert_eq!(ask(&mock, &"x".repeat(1000)).await.unwrap().status, 413);
    let answer = send(&mock, post(ANTHROPIC, question(&"x".repeat(1000)))).await.unwrap();
    assert_eq!(answer.json()["error"]["type"], "request_too_large");
}

#[tokio::test]
async fn an_account_is_exhausted() {
    let mock = Mock::builder().insufficient_quota_after(1).build();
    assert_eq!(ask(&mock, "a").await.unwrap().status, 200);
    let answer = ask(&mock, "b").await.unwrap();
    assert_eq!((answer.status.as_u16(), answer.header("retry-after")), (429, None));
    assert_eq!(answer.json()["error"]["code"], "insufficient_quota");
    assert_eq!(answer.json()["error"]["type"], "insufficient_quota");
    let answer = send(&mock, post(ANTHROPIC, question("b"))).await.unwrap();
    assert_eq!((answer.status.as_u16(), answer.header("retry-after")), (429, None));
    assert_eq!(answer.json()["error"]["type"], "rate_limit_error");
    assert_eq!(answer.json()["error"]["details"]["error_code"], "enforced_spend_limit_reached");
    assert_eq!((mock.stats().accepted, mock.stats().retries), (1, 1));
}
