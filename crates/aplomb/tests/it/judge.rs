//! Judgements of answers by users, in addition to the provider's.

use aplomb::provider::{Generic, Head, OpenAi, Provider};
use aplomb::{BrokenAnswer, EndpointLayer, Kind, Outcome, Policy, Report, find};
use aplomb::{Classification, Reason};
use http_body_util::BodyExt;
use tower::{Layer, ServiceExt};

use crate::calls::{chat, send, under};
use crate::script::{Reply, Server, data, done, word};

const PARTIAL: &str = r#"{"choices":[{"message":{"content":"hi"}}],"state":"partial"}"#;
const WHOLE: &str = r#"{"choices":[{"message":{"content":"hi"}}],"state":"whole"}"#;

/// A dialect in which a 200 may say that it is not the answer.
#[derive(Debug)]
struct Partial;

impl Provider for Partial {
    fn name(&self) -> &'static str {
        "partial"
    }

    fn judge(&self, head: &Head<'_>, body: &[u8]) -> Classification {
        if head.status().is_success() && is_partial(body) {
            Classification::from(Reason::Truncated)
        } else {
            Generic.judge(head, body)
        }
    }
}

fn is_partial(body: &[u8]) -> bool {
    String::from_utf8_lossy(body).contains("partial")
}

fn json(body: &str) -> Reply {
    Reply::of("application/json", [data(body)])
}

fn reads_all(layer: EndpointLayer) -> EndpointLayer {
    layer.handle().set_policy(Policy::new().whole_answers(1 << 20)).unwrap();
    layer
}

#[tokio::test(start_paused = true)]
async fn a_provider_of_ones_own_is_asked_about_a_200() {
    let streamed = || Reply::stream([word("partial"), done()]);
    for (first, second) in [
        (json(PARTIAL), json(WHOLE)),
        (streamed(), Reply::stream([word("all"), done()])),
    ] {
        let server = Server::new([first, second]);
        let (text, error) = send(reads_all(EndpointLayer::new(Partial)), &server).await;
        assert!(error.is_none() && !text.contains("partial"), "{text}");
        assert_eq!(server.seen(), 2);
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_is_retried_when_its_json_says_so() {
    let judged = |layer: EndpointLayer| {
        reads_all(layer).judge_with(|head: &Head<'_>, body, judged| {
            if head.status() == 200 && is_partial(body) {
                Classification::from(Reason::Truncated)
            } else {
                judged
            }
        })
    };
    let server = Server::new([json(PARTIAL), json(WHOLE)]);
    let (text, _) = send(judged(EndpointLayer::new(OpenAi)), &server).await;
    assert_eq!((text.as_str(), server.seen()), (WHOLE, 2));

    // If retries do not help, it is the error of the call.
    let server = Server::new([json(PARTIAL)]);
    let error = judged(EndpointLayer::new(OpenAi)).layer(server.clone()).oneshot(chat("a", false)).await;
    let error = error.unwrap_err();
    assert_eq!(
        find::<BrokenAnswer>(&error).unwrap().classification().unwrap().reason(),
        Some(Reason::Truncated)
    );
    assert_eq!(server.seen(), 5);
}

#[tokio::test(start_paused = true)]
async fn a_status_is_not_retried_when_the_user_says_so() {
    let layer = under(Policy::new()).judge_with(|head: &Head<'_>, _, judged| match head.status().as_u16() {
        409 => Classification::new(Outcome::permanent()).with_reason(Reason::Conflict),
        _ => judged,
    });
    let server = Server::new([Reply { status: 409, ..json("{}") }, json(WHOLE)]);
    let response = layer.layer(server.clone()).oneshot(chat("a", false)).await.unwrap();
    assert_eq!((response.status().as_u16(), server.seen()), (409, 1));
    let report = Report::of(&response).unwrap();
    assert_eq!(report.outcome().unwrap().kind(), Kind::Permanent);
    // Without a word from the user it is.
    let server = Server::new([Reply { status: 409, ..json("{}") }, json(WHOLE)]);
    let response = under(Policy::new()).layer(server).oneshot(chat("a", false)).await.unwrap();
    assert_eq!(response.status(), 200);
}

#[tokio::test(start_paused = true)]
async fn errors_are_labelled_with_the_provider_that_leaves_the_reading_to_another() {
    let error = r#"{"error":{"message":"kaput","type":"server_error"}}"#;
    let at_the_end = || Reply::stream([word("hi"), data(format!("data: {error}"))]);
    for (reply, whole) in [
        (json(error), false),
        (Reply { status: 500, ..json(error) }, false),
        (Reply::stream([data(format!("data: {error}\n\n")), done()]), false),
        (Reply::stream([word("hi"), data(format!("data: {error}\n\n")), done()]), false),
        (at_the_end(), false),
        (at_the_end(), true),
    ] {
        let layer = EndpointLayer::new(Partial);
        let policy = Policy::new().max_retries(0);
        let policy = if whole {
            policy.whole_answers(1 << 20)
        } else {
            policy
        };
        layer.handle().set_policy(policy).unwrap();
        let told = match layer.layer(Server::new([reply])).oneshot(chat("a", true)).await {
            Ok(response) if response.status() == 500 => {
                response.extensions().get::<Classification>().unwrap().to_string()
            }
            Ok(response) => {
                let error = response.into_body().collect().await.unwrap_err();
                find::<BrokenAnswer>(&*error).unwrap().to_string()
            }
            Err(error) => find::<BrokenAnswer>(&error).unwrap().to_string(),
        };
        assert!(told.contains("(partial)"), "{told}");
    }
}

// The provider's reader may take part of an answer for an error.
#[tokio::test(start_paused = true)]
async fn an_error_inside_an_answer_may_be_forgiven() {
    let body = r#"{"error":{"message":"kept for reference","type":"server_error"}}"#;
    let failed = format!("data: {body}\n\n");
    let layer =
        || reads_all(EndpointLayer::new(OpenAi)).judge_with(|_: &Head<'_>, _, _| Reason::Answered.into());
    for reply in [json(body), Reply::stream([data(failed), word("and on"), done()])] {
        let server = Server::new([reply]);
        let (text, error) = send(layer(), &server).await;
        assert!(text.contains("kept for reference") && error.is_none());
        assert_eq!(server.seen(), 1);
    }
}
