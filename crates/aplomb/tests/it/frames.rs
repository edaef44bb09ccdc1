//! The bytes of an answer pass as they come.

use aplomb::provider::OpenAi;
use aplomb::{BrokenAnswer, EndpointLayer, Policy, find};
use bytes::Bytes;
use http_body::Body;
use http_body_util::BodyExt;
use proptest::prelude::*;
use tower::{Layer, ServiceExt};

use crate::calls::under;
use crate::script::{Reply, Server, Step, USAGE, data, done, ping, word};

#[tokio::test(start_paused = true)]
async fn frames_bytes_and_trailers_pass_as_they_come_also_one_byte_at_a_time() {
    let mut trailers = http::HeaderMap::new();
    trailers.insert("x-cost", "3".parse().unwrap());
    let stream = [ping(), word("one"), ping(), word("two"), done(), ping()];
    let bytes = stream.iter().flat_map(|step| match step {
        Step::Data(data) => data.iter().map(|byte| Step::Data(vec![*byte].into())).collect(),
        _ => Vec::new(),
    });
    for steps in [stream.to_vec(), bytes.collect()] {
        let steps = [steps, vec![Step::Trailers(trailers.clone())]].concat();
        let server = Server::new([Reply::stream(steps.clone())]);
        for layer in [
            EndpointLayer::new(OpenAi),
            under(Policy::new().whole_answers(1 << 20)),
        ] {
            let response =
                layer.layer(server.clone()).oneshot(http::Request::new(String::new())).await.unwrap();
            let mut body = response.into_body();
            let mut read = Vec::new();
            let mut sent = Vec::new();
            for step in &steps {
                if let Step::Data(data) = step {
                    sent.extend_from_slice(data);
                }
            }
            while read.len() < sent.len() {
                let frame = body.frame().await.unwrap().unwrap();
                read.extend_from_slice(&frame.into_data().unwrap());
            }
            assert_eq!(read, sent);
            let frame = body.frame().await.unwrap().unwrap();
            assert_eq!(frame.trailers_ref(), Some(&trailers));
            assert!(body.frame().await.is_none() && body.is_end_stream());
        }
    }
}

// Frames that were read ahead are handed on in no more pieces than needed.
#[tokio::test(start_paused = true)]
async fn an_answer_that_comes_byte_by_byte_is_kept_in_few_pieces() {
    let bytes = [word("one"), done()].into_iter().flat_map(|step| match step {
        Step::Data(data) => data.iter().map(|byte| Step::Data(vec![*byte].into())).collect(),
        _ => Vec::new(),
    });
    let server = Server::new([Reply::stream(bytes)]);
    let layer = under(Policy::new().whole_answers(1 << 20));
    let response = layer.layer(server).oneshot(http::Request::new(String::new())).await.unwrap();
    let mut body = response.into_body();
    let mut frames = 0;
    while let Some(frame) = body.frame().await {
        frame.unwrap();
        frames += 1;
    }
    assert_eq!(frames, 17);
}

fn frames() -> impl Strategy<Value = Vec<Step>> {
    let event = prop_oneof![
        Just(ping()),
        Just(data("data: {\"choices\":[]}\n\n")),
        any::<u8>().prop_map(|n| word(&n.to_string())),
        Just(data(USAGE)),
        Just(done()),
        Just(data("data: {\"error\":{\"message\":\"\",\"type\":\"server_error\"}}\n\n")),
        "\\PC{0,20}".prop_map(data),
        Just(data("")),
    ];
    let events = proptest::collection::vec(event, 0..8);
    (events, proptest::collection::vec(1..60_usize, 0..40)).prop_map(|(events, cuts)| {
        let mut all: Vec<u8> = Vec::new();
        for event in events {
            if let Step::Data(data) = event {
                all.extend_from_slice(&data);
            }
        }
        let mut all = Bytes::from(all);
        let pieces =
            cuts.into_iter().map_while(|cut| (cut < all.len()).then(|| Step::Data(all.split_to(cut))));
        let mut pieces: Vec<Step> = pieces.collect();
        pieces.push(Step::Data(all));
        pieces
    })
}

proptest! {
    /// Whatever comes, however it is cut: all of it is handed on, or the call fails.
    #[test]
    fn no_byte_is_lost_or_made_up(steps in frames(), media_type in 0..3_usize) {
        let media_type = ["text/event-stream", "application/json", "text/plain"][media_type];
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        runtime.unwrap().block_on(async {
            let server = Server::new([Reply::of(media_type, steps.clone())]);
            let endpoint = under(Policy::new().max_retries(0)).layer(server);
            let Ok(response) = endpoint.oneshot(http::Request::new(String::new())).await else {
                assert_eq!(media_type, "text/event-stream");
                return;
            };
            let mut body = response.into_body();
            let mut sent = Vec::new();
            for step in &steps {
                if let Step::Data(data) = step {
                    sent.extend_from_slice(data);
                }
            }
            let mut read = Vec::new();
            let end = loop {
                match body.frame().await {
                    Some(Ok(frame)) => read.extend_from_slice(&frame.into_data().unwrap()),
                    end => break end,
                }
            };
            assert_eq!(read, sent);
            assert!(end.is_none_or(|end| find::<BrokenAnswer>(&*end.unwrap_err()).is_some()));
            assert!(body.frame().await.is_none() && body.is_end_stream());
        });
    }
}
