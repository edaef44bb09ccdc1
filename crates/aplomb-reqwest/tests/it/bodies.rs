//! Bodies go out unharmed: as they are, read ahead, or made again.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use aplomb::BoxError;
use aplomb_mock::{Fault, Mock, Plan, Server};
use aplomb_reqwest::{Client, RequestFactory, ReqwestLayer};
use bytes::Bytes;

use crate::{chat, endpoint};

async fn fails_first() -> (Server, String) {
    let server = Mock::builder().plan(Plan::script([Some(Fault::Unavailable)])).start().await.unwrap();
    let url = format!("{}/chat/completions", server.openai_base_url());
    (server, url)
}

/// A body of the prompt, in pieces.
fn streamed(prompt: &str) -> reqwest::Body {
    let whole = chat(prompt, false).to_string();
    let pieces: Vec<_> = whole
        .as_bytes()
        .chunks(1_000)
        .map(Bytes::copy_from_slice)
        .map(Ok::<_, std::io::Error>)
        .collect();
    reqwest::Body::wrap_stream(futures_util::stream::iter(pieces))
}

#[tokio::test]
async fn a_short_stream_is_read_ahead_and_sent_again() {
    let (server, url) = fails_first().await;
    let client = Client::new(endpoint(), reqwest::Client::new());
    let prompt = "word ".repeat(1_000);
    let response = client.post(&url).body(streamed(&prompt)).send().await.unwrap();
    assert_eq!((response.status().as_u16(), server.stats().seen), (200, 2));
    assert_eq!(server.prompt(&prompt).seen, 2, "both were whole");
}

#[tokio::test]
async fn a_long_stream_goes_out_once_and_whole() {
    let (server, url) = fails_first().await;
    let client = Client::new(endpoint(), reqwest::Client::new());
    let prompt = "word ".repeat(100_000);
    for (status, seen) in [(503, 1), (200, 2)] {
        let response = client.post(&url).body(streamed(&prompt)).send().await.unwrap();
        assert_eq!((response.status().as_u16(), server.stats().seen), (status, seen));
    }
    assert_eq!(server.prompt(&prompt).seen, 2);
}

#[tokio::test]
async fn the_limit_decides_what_is_long() {
    let (server, url) = fails_first().await;
    let layer = ReqwestLayer::new(endpoint()).replay_limit(1 << 20);
    let client = Client::with_layer(&layer, reqwest::Client::new());
    let response = client.post(&url).body(streamed(&"word ".repeat(100_000))).send().await.unwrap();
    assert_eq!((response.status().as_u16(), server.stats().seen), (200, 2));
}

#[tokio::test]
async fn a_factory_makes_a_long_stream_again() {
    let (server, url) = fails_first().await;
    let http = reqwest::Client::new();
    let client = Client::new(endpoint(), http.clone());
    let (prompt, made) = ("word ".repeat(100_000), Arc::new(AtomicU32::new(0)));
    let counted = Arc::clone(&made);
    let request = {
        let prompt = prompt.clone();
        RequestFactory::new(move || {
            counted.fetch_add(1, Ordering::Relaxed);
            let request = http.post(&url).body(streamed(&prompt)).build();
            async move { Ok(request?) }
        })
    };
    let response = client.execute_factory(request).await.unwrap();
    assert_eq!((response.status().as_u16(), server.prompt(&prompt).seen), (200, 2));
    assert_eq!(made.load(Ordering::Relaxed), 2);
}

#[tokio::test]
async fn a_form_that_is_made_again_is_sent_with_its_own_boundary() {
    let (server, _) = fails_first().await;
    // The mock refuses what is not JSON, but only after its faults: that the second attempt was read shows in the status.
    let url = format!("{}/chat/completions", server.openai_base_url());
    let http = reqwest::Client::new();
    let request = {
        let http = http.clone();
        RequestFactory::new(move || {
            let part = reqwest::multipart::Part::stream(streamed(&"word ".repeat(100_000)));
            let form = reqwest::multipart::Form::new().part("file", part);
            let request = http.post(&url).multipart(form).build();
            async move { Ok(request?) }
        })
    };
    let response = Client::new(endpoint(), http).execute_factory(request).await.unwrap();
    assert_eq!((response.status().as_u16(), server.stats().seen), (400, 1));
}

#[tokio::test]
async fn an_error_of_a_stream_or_a_factory_ends_the_call() {
    let (server, url) = fails_first().await;
    let client = Client::new(endpoint(), reqwest::Client::new());
    let broken = futures_util::stream::iter([Ok("{"), Err(std::io::Error::other("the disk is gone"))]);
    let error = client.post(&url).body(reqwest::Body::wrap_stream(broken)).send().await.unwrap_err();
    assert!(aplomb::find::<reqwest::Error>(&error).unwrap().is_body(), "{error:?}");

    let error = client.execute_factory(RequestFactory::new(async || Err(BoxError::from("no file")))).await;
    assert_eq!(error.unwrap_err().cause().to_string(), "no file");
    assert_eq!(server.stats().seen, 0);
}
