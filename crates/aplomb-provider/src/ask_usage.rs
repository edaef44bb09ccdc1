//! Asking a stream to report what it consumes.

use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

/// What of a request says whether its stream reports its usage.
#[derive(Deserialize)]
struct Asked<'a> {
    #[serde(default)]
    stream: bool,
    #[serde(borrow, default, deserialize_with = "named")]
    stream_options: Option<&'a RawValue>,
}

/// What a key has been given, `null` too.
fn named<'de, D: Deserializer<'de>>(value: D) -> Result<Option<&'de RawValue>, D::Error> {
    <&RawValue>::deserialize(value).map(Some)
}

#[derive(Deserialize)]
struct Options<'a> {
    /// Whatever it says, it is named: `null` too, and a key must not come twice.
    #[serde(borrow, default, deserialize_with = "named")]
    include_usage: Option<&'a RawValue>,
}

const ASKS: &[u8] = br#""include_usage":true"#;

/// The paths of OpenAI's chat and completion shapes end so, whoever serves them. The Responses API reports
/// its usage without being asked.
const PATHS: &[&str] = &["/chat/completions", "/completions"];

/// A request that asks for a stream without saying whether it wants the usage, changed so that it does.
/// Nothing else of it is touched. `None` where there is nothing to change.
pub(crate) fn ask(path: &str, body: &[u8]) -> Option<Vec<u8>> {
    if !PATHS.iter().any(|end| path.ends_with(end)) {
        return None;
    }
    // A list would be read as the fields in their order.
    let is_object = |json: &[u8]| json.trim_ascii_start().starts_with(b"{");
    if !is_object(body) {
        return None;
    }
    let asked = serde_json::from_slice::<Asked<'_>>(body).ok().filter(|asked| asked.stream)?;
    // `null` is as good as nothing, and is named: a key must not come twice.
    let options = asked.stream_options.map(RawValue::get);
    let Some(options) = options else {
        let inside = body.iter().position(|byte| *byte == b'{')? + 1;
        return Some(insert(body, inside, &[br#""stream_options":{"#, ASKS, b"}"].concat(), false));
    };
    let start = (options.as_ptr() as usize).checked_sub(body.as_ptr() as usize)?;
    if options == "null" {
        let mut changed = insert(body, start, &[b"{", ASKS, b"}"].concat(), true);
        let end = start + ASKS.len() + 2;
        changed.drain(end..end + options.len());
        return Some(changed);
    }
    if !is_object(options.as_bytes()) {
        return None;
    }
    let is_open = serde_json::from_str::<Options<'_>>(options).ok()?.include_usage.is_none();
    let is_empty = options[1..].trim_ascii_start().starts_with('}');
    is_open.then(|| insert(body, start + 1, ASKS, is_empty))
}

/// Puts a member of an object where its first one stands.
fn insert(body: &[u8], at: usize, member: &[u8], is_last: bool) -> Vec<u8> {
    let comma: &[u8] = if is_last { b"" } else { b"," };
    [&body[..at], member, comma, &body[at..]].concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    fn asked(body: &str) -> Option<String> {
        ask("/v1/chat/completions", body.as_bytes()).map(|body| String::from_utf8(body).unwrap())
    }

    #[test]
    fn a_stream_is_asked_where_it_does_not_say() {
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
            assert_eq!(asked(body).as_deref(), Some(expected));
        }
    }

    #[test]
    fn what_says_so_itself_or_is_something_else_is_left_alone() {
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
            assert_eq!(asked(body), None, "{body}");
        }
        assert_eq!(ask("/v1/messages", br#"{"stream": true}"#), None);
        assert!(ask("/openai/deployments/d/chat/completions", br#"{"stream": true}"#).is_some());
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
            let changed: Value = serde_json::from_str(&asked(&body.to_string()).unwrap()).unwrap();
            if body["stream_options"].is_null() {
                body["stream_options"] = json!({});
            }
            body["stream_options"]["include_usage"] = json!(true);
            prop_assert_eq!(changed, body);
        }

        #[test]
        fn no_bytes_panic(body in prop::collection::vec(any::<u8>(), 0..100)) {
            ask("/chat/completions", &body);
        }
    }
}
