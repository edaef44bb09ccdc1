//! Whatever the bytes: no panic, and the same reading however they are split.

use aplomb_provider::{Anthropic, Generic, OpenAi, Provider};
use proptest::prelude::*;

use crate::support::{self, Response};

const ALL: [&dyn Provider; 3] = [&OpenAi, &Anthropic, &Generic];

/// Bytes that look much like a stream, and some that do not.
fn stream() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        8 => "(data: |event: |: ping|\n|\n\n|\r|\r\n\r\n|\\[DONE\\]|error|response\\.completed|message_stop)"
            .prop_map(String::into_bytes),
        4 => json().prop_map(|json| format!("data: {json}\n\n").into_bytes()),
        1 => prop::collection::vec(any::<u8>(), 0..8),
    ];
    prop::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat())
}

/// JSON of the words that the dialects look for, in all the wrong places.
fn json() -> impl Strategy<Value = String> {
    let words = [
        "error",
        "code",
        "type",
        "message",
        "details",
        "error_code",
        "choices",
        "delta",
        "content",
        "index",
        "finish_reason",
        "usage",
        "input_tokens",
        "prompt_tokens",
        "response",
        "status",
        "failed",
        "text",
        "message_start",
        "content_block_delta",
        "response.output_text.delta",
        "resets_at",
        "retry_after",
        "resets_in_seconds",
        "rate_limit_exceeded",
        "Limit 5, Requested 9. Try again in 9s",
        "detail",
        "output",
        "max_tokens",
        "messages",
        "n",
        "metadata",
        "errors",
        "retryDelay",
    ];
    let word = prop::sample::select(words.to_vec());
    let leaf = prop_oneof![
        3 => word.clone().prop_map(|word| format!("{word:?}")),
        1 => any::<f64>().prop_map(|number| format!("{number:e}")),
        1 => "-?[1-9][0-9]{0,40}",
        1 => prop::sample::select(vec!["null", "true", "1e400", "429", "\"ß\""]).prop_map(str::to_owned),
    ];
    leaf.prop_recursive(5, 40, 6, move |inner| {
        let field = (word.clone(), inner.clone()).prop_map(|(name, value)| format!("{name:?}: {value}"));
        prop_oneof![
            4 => prop::collection::vec(field, 0..6).prop_map(|fields| format!("{{{}}}", fields.join(", "))),
            1 => prop::collection::vec(inner, 0..4).prop_map(|items| format!("[{}]", items.join(", "))),
        ]
    })
}

fn ask_everything(status: u16, content_type: &str, body: &[u8]) {
    let response = Response::new(status, &[("content-type", content_type)]);
    let head = response.head();
    for provider in ALL {
        let judgement = provider.judge(&head, body);
        assert!(judgement.message().is_none_or(|message| message.chars().count() <= 300));
        let _ = provider.usage(&head, body);
        let _ = provider.text(&head, body);
        let _ = provider.estimate(body);
        let end = provider.whole(&head, body);
        assert_eq!(end, provider.whole(&head, body));
    }
}

proptest! {
    #[test]
    fn any_bytes_never_panic(body in prop::collection::vec(any::<u8>(), 0..200), status in 200_u16..=599) {
        ask_everything(status, "application/json", &body);
        ask_everything(status, "text/event-stream", &body);
    }

    #[test]
    fn any_json_never_panics(body in json(), status in prop::sample::select(vec![200_u16, 400, 429, 503])) {
        ask_everything(status, "application/json", body.as_bytes());
    }

    #[test]
    fn where_a_stream_is_split_changes_nothing(
        bytes in stream(),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
    ) {
        let mut cuts = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect::<Vec<_>>();
        cuts.extend([0, bytes.len()]);
        cuts.sort_unstable();
        let response = Response::new(200, &[]);
        for provider in ALL {
            let chunks = cuts.windows(2).map(|cut| &bytes[cut[0]..cut[1]]);
            let split = support::read(provider.stream(&response.head()), chunks);
            let whole = support::read(provider.stream(&response.head()), [bytes.as_slice()]);
            prop_assert_eq!(split, whole);
        }
    }
}

#[test]
fn deep_nesting_is_an_error_like_any_other() {
    for open in ["[", "{\"error\":"] {
        let deep = open.repeat(200_000);
        ask_everything(200, "application/json", deep.as_bytes());
        ask_everything(429, "application/json", deep.as_bytes());
        ask_everything(200, "text/event-stream", format!("data: {deep}\n\n").as_bytes());
    }
}
