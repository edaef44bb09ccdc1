//! Asking a streaming request to report its usage.

use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

/// The fields of a request that decide whether its stream reports usage.
#[derive(Deserialize)]
struct Request<'a> {
    #[serde(default)]
    stream: bool,
    #[serde(borrow, default, deserialize_with = "present")]
    stream_options: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct StreamOptions<'a> {
    #[serde(borrow, default, deserialize_with = "present")]
    include_usage: Option<&'a RawValue>,
}

/// A field that is present, `null` included: the name must not occur twice.
fn present<'de, D: Deserializer<'de>>(value: D) -> Result<Option<&'de RawValue>, D::Error> {
    <&RawValue>::deserialize(value).map(Some)
}

const INCLUDE_USAGE: &[u8] = br#""include_usage":true"#;

/// Endings of the paths of OpenAI's chat and completions endpoints. The Responses API reports usage unasked.
const PATHS: [&str; 2] = ["/chat/completions", "/completions"];

/// The body with `include_usage` added, if the request streams and does not mention it. Nothing else changes.
/// `None` if there is nothing to add.
pub(crate) fn added(path: &str, body: &[u8]) -> Option<Vec<u8>> {
    // serde would read a list as the fields in their order.
    let is_object = |json: &[u8]| json.trim_ascii_start().starts_with(b"{");
    if !PATHS.iter().any(|end| path.ends_with(end)) || !is_object(body) {
        return None;
    }
    let request = serde_json::from_slice::<Request<'_>>(body).ok().filter(|request| request.stream)?;
    let Some(options) = request.stream_options.map(RawValue::get) else {
        let inside = body.iter().position(|byte| *byte == b'{')? + 1;
        let options = [br#""stream_options":{"#, INCLUDE_USAGE, b"}"].concat();
        return Some(insert(body, inside, &options, false));
    };
    let start = (options.as_ptr() as usize).checked_sub(body.as_ptr() as usize)?;
    if options == "null" {
        let (before, after) = (&body[..start], &body[start + options.len()..]);
        return Some([before, b"{", INCLUDE_USAGE, b"}", after].concat());
    }
    if !is_object(options.as_bytes()) {
        return None;
    }
    let is_unset = serde_json::from_str::<StreamOptions<'_>>(options).ok()?.include_usage.is_none();
    let is_empty = options[1..].trim_ascii_start().starts_with('}');
    is_unset.then(|| insert(body, start + 1, INCLUDE_USAGE, is_empty))
}

/// Inserts a member at the start of an object.
fn insert(body: &[u8], at: usize, member: &[u8], is_last: bool) -> Vec<u8> {
    let comma: &[u8] = if is_last { b"" } else { b"," };
    [&body[..at], member, comma, &body[at..]].concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    fn changed(body: &str) -> Option<String> {
        added("/v1/chat/completions", body.as_bytes()).map(|body| String::from_utf8(body).unwrap())
    }

    #[test]
    fn a_stream_that_does_not_mention_usage_is_asked_for_it() {
        for (body, expected) in [
            (
                r#"{"stream": true, "n": 1}"#,
                r#"{"stream_options":{"include_usage":true},"stream": true, "n": 1}"#,
            ),
            (
                r#" {"stream":true,"stream_options": {"x": 1}}"#,
                r#" {"stream":true,"stream_options": {"include_usage":true,"x": 1}}"#,
            ),
            (
                r#"{"stream_options": { }, "stream":true}"#,
                r#"{"stream_options": {"include_usage":true }, "stream":true}"#,
            ),
        ] {
            assert_eq!(changed(body).as_deref(), Some(expected));
        }
    }

    #[test]
    fn a_request_that_mentions_usage_or_does_not_stream_is_left_alone() {
        for body in [
            r#"{"stream": true, "stream_options": {"include_usage": false}}"#,
            r#"{"stream": true, "stream_options": {"include_usage": true}}"#,
            r#"{"stream": true, "stream_options": {"include_usage": null}}"#,
            r#"{"stream": true, "stream_options": {"include_usage": 1}}"#,
            r#"{"stream": true, "stream_options": 7}"#,
            r#"{"stream": true, "stream_options": [null]}"#,
            r#"{"stream": true, "stream_options": []}"#,
            r#"{"stream": false}"#,
            r#"{"messages": [{"stream": true}]}"#,
            r#"{"stream": true"#,
            "[true]",
            " [true, null]",
            "[true, {}]",
            "",
        ] {
            assert_eq!(changed(body), None, "{body}");
        }
        assert_eq!(added("/v1/messages", br#"{"stream": true}"#), None);
        assert!(added("/openai/deployments/d/chat/completions", br#"{"stream": true}"#).is_some());
    }

    proptest! {
        #[test]
        fn nothing_else_is_changed(
            text in ".*",
            options in prop::option::of(prop_oneof![Just(json!(null)), Just(json!({})), Just(json!({"x": [1, "}"]}))]),
        ) {
            let mut body = json!({"messages": [{"content": text}], "stream": true, "z": {"stream_options": 1}});
            if let Some(options) = options {
                body["stream_options"] = options;
            }
            let changed: Value = serde_json::from_str(&changed(&body.to_string()).unwrap()).unwrap();
            if body["stream_options"].is_null() {
                body["stream_options"] = json!({});
            }
            body["stream_options"]["include_usage"] = json!(true);
            prop_assert_eq!(changed, body);
        }

        #[test]
        fn no_bytes_panic(body in prop::collection::vec(any::<u8>(), 0..100)) {
            added("/chat/completions", &body);
        }
    }
}
