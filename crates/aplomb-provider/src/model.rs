//! The model that a request asks for.

use std::borrow::Cow;
use std::fmt;

use percent_encoding::percent_decode_str;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};

/// Returns the model that a request asks for: the one in its path, otherwise the `model` of its JSON body.
///
/// Paths with a model, which is percent-decoded:
///
/// - Gemini and Vertex AI: `…/models/{model}:generateContent` and the like, and `…/tunedModels/{model}:…`
/// - Azure: `…/deployments/{deployment}/…`, where the deployment stands for a model
/// - Bedrock: `…/model/{modelId}/invoke`, `converse`, their streams and `count-tokens`
///
/// The body is read only up to the model, and nothing is built up in memory. If it names several models, the first one
/// counts. A body that is not a JSON object has no model, nor has one whose `model` is empty or not a string.
///
/// # Examples
///
/// ```
/// use aplomb_provider::model;
///
/// assert_eq!(model("/v1/messages", br#"{"model": "claude-sonnet-4-5"}"#).unwrap(), "claude-sonnet-4-5");
/// assert_eq!(model("/v1beta/models/gemini-2.5-flash:generateContent", b"{}").unwrap(), "gemini-2.5-flash");
/// assert_eq!(model("/v1/models", b""), None);
/// ```
#[must_use]
pub fn model<'a>(path: &'a str, body: &'a [u8]) -> Option<Cow<'a, str>> {
    in_path(path).or_else(|| in_body(body))
}

/// The operations of Bedrock's runtime.
const BEDROCK_OPERATIONS: [&str; 5] = [
    "invoke",
    "invoke-with-response-stream",
    "converse",
    "converse-stream",
    "count-tokens",
];

fn in_path(path: &str) -> Option<Cow<'_, str>> {
    let mut segments = path.split('/');
    while let Some(segment) = segments.next() {
        let mut rest = segments.clone();
        let next = rest.next()?;
        let then = rest.next().unwrap_or_default();
        let named = match segment {
            // The last colon separates the method; other colons belong to the model.
            "models" | "tunedModels" => next.rsplit_once(':').map(|(model, _)| model),
            "deployments" => (!then.is_empty()).then_some(next),
            "model" => BEDROCK_OPERATIONS.contains(&then).then_some(next),
            _ => None,
        };
        let named = named.and_then(|model| percent_decode_str(model).decode_utf8().ok());
        if let Some(model) = named.filter(|model| !model.is_empty()) {
            return Some(model);
        }
    }
    None
}

fn in_body(body: &[u8]) -> Option<Cow<'_, str>> {
    let mut found = None;
    // The visitor stops at the model, which the parser reports as an error.
    let _ = serde_json::Deserializer::from_slice(body).deserialize_map(Request(&mut found));
    found.filter(|model| !model.is_empty())
}

struct Request<'f, 'de>(&'f mut Option<Cow<'de, str>>);

impl<'de> Visitor<'de> for Request<'_, 'de> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a request")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<(), A::Error> {
        while let Some(is_model) = fields.next_key_seed(IsModel)? {
            if is_model {
                *self.0 = Some(fields.next_value_seed(Name)?);
                return Ok(());
            }
            fields.next_value::<IgnoredAny>()?;
        }
        Ok(())
    }
}

/// Reads a key: whether it is `model`.
struct IsModel;

impl<'de> DeserializeSeed<'de> for IsModel {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, key: D) -> Result<bool, D::Error> {
        key.deserialize_str(self)
    }
}

impl Visitor<'_> for IsModel {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E>(self, key: &str) -> Result<bool, E> {
        Ok(key == "model")
    }
}

/// Reads a name, borrowed if it has no escapes.
struct Name;

impl<'de> DeserializeSeed<'de> for Name {
    type Value = Cow<'de, str>;

    fn deserialize<D: Deserializer<'de>>(self, text: D) -> Result<Cow<'de, str>, D::Error> {
        text.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for Name {
    type Value = Cow<'de, str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text")
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Cow<'de, str>, E> {
        Ok(Cow::Borrowed(text))
    }

    fn visit_str<E>(self, text: &str) -> Result<Cow<'de, str>, E> {
        Ok(Cow::Owned(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn in_the_path_where_the_provider_has_it_there() {
        for (path, expected) in [
            ("/v1beta/models/gemini-2.5-pro:generateContent", Some("gemini-2.5-pro")),
            ("/v1beta/models/gemini-2.5-pro:streamGenerateContent", Some("gemini-2.5-pro")),
            ("/v1beta/tunedModels/mine-1:generateContent", Some("mine-1")),
            (
                "/v1/projects/p/locations/l/publishers/google/models/gemini-2.0-flash-001:generateContent",
                Some("gemini-2.0-flash-001"),
            ),
            (
                "/v1/projects/p/locations/l/publishers/anthropic/models/claude-sonnet-4@20250514:rawPredict",
                Some("claude-sonnet-4@20250514"),
            ),
            ("/openai/deployments/my-gpt-4o/chat/completions", Some("my-gpt-4o")),
            ("/gateway/openai/deployments/a%20b/embeddings", Some("a b")),
            (
                "/model/anthropic.claude-3-haiku-20240307-v1%3A0/invoke",
                Some("anthropic.claude-3-haiku-20240307-v1:0"),
            ),
            (
                "/model/meta.llama3-8b-instruct-v1:0/converse-stream",
                Some("meta.llama3-8b-instruct-v1:0"),
            ),
            (
                "/model/arn%3Aaws%3Abedrock%3Aus-east-1%3A1%3Ainference-profile%2Fus.x/converse",
                Some("arn:aws:bedrock:us-east-1:1:inference-profile/us.x"),
            ),
            // Descriptions of models and deployments: no model is asked for anything.
            ("/v1/models", None),
            ("/v1/models/gpt-4o", None),
            ("/v1/models/", None),
            ("/openai/deployments/my-gpt-4o", None),
            ("/openai/deployments/my-gpt-4o/", None),
            ("/model//invoke", None),
            ("/api/model/list/all", None),
            ("/v1beta/models/:generateContent", None),
            ("/model/%FF%FE/invoke", None),
            ("", None),
            ("*", None),
        ] {
            assert_eq!(model(path, b"").as_deref(), expected, "{path}");
        }
    }

    #[test]
    fn in_the_body_otherwise() {
        for (body, expected) in [
            (r#"{"model": "gpt-4o"}"#, Some("gpt-4o")),
            (
                r#"{"messages": [{"model": "no", "content": "{\"model\": \"no\"}"}], "model": "gpt-4o", "n": 1}"#,
                Some("gpt-4o"),
            ),
            (r#"  {"options": {"model": "no"}, "mod\u0065l": "m\u0069stral"}"#, Some("mistral")),
            (r#"{"model": "first", "model": "second"}"#, Some("first")),
            // The rest is not read.
            (r#"{"model": "gpt-4o", "messages": ["#, Some("gpt-4o")),
            (r#"{"messages": [}, "model": "gpt-4o"}"#, None),
            (r#"{"model": ""}"#, None),
            (r#"{"model": null}"#, None),
            (r#"{"model": ["gpt-4o"]}"#, None),
            (r#"{"model": "gpt-4o"#, None),
            (r#"{"Model": "gpt-4o"}"#, None),
            (r#"["model", "gpt-4o"]"#, None),
            (r#""model""#, None),
            ("model=gpt-4o", None),
            ("", None),
        ] {
            assert_eq!(model("/v1/chat/completions", body.as_bytes()).as_deref(), expected, "{body}");
        }
        let deep = format!("{{\"a\": {}{}, \"model\": \"m\"}}", "[".repeat(100_000), "]".repeat(100_000));
        let _ = model("/", deep.as_bytes());
    }

    #[test]
    fn the_path_takes_precedence_and_nothing_is_copied() {
        let body = br#"{"model": "other"}"#;
        assert_eq!(model("/openai/deployments/mine/embeddings", body).unwrap(), "mine");
        assert!(matches!(model("/v1/embeddings", body), Some(Cow::Borrowed("other"))));
        assert!(matches!(model("/model/m/invoke", body), Some(Cow::Borrowed("m"))));
    }

    proptest! {
        #[test]
        fn any_path_and_body_never_panic(path in "\\PC*", body: Vec<u8>) {
            let _ = model(&path, &body);
        }

        #[test]
        fn anything_that_looks_like_a_model_never_panics(
            path in "(/|models|model|deployments|:|%|%2F|%ff|invoke|a){0,12}",
            body in "([{}\\[\\]\",:\\\\ ]|\"model\"|\"model\":|null|1|\\\\u00|é){0,20}",
        ) {
            let _ = model(&path, body.as_bytes());
        }

        #[test]
        fn any_model_is_read_back(name in "\\PC+", other in "\\PC*") {
            let body = serde_json::json!({"a": {"model": other}, "model": name, "z": [other]}).to_string();
            prop_assert_eq!(model("/", body.as_bytes()).unwrap(), name);
        }
    }
}
