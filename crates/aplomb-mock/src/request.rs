//! Reading the body of a request.

use bytes::Bytes;
use serde_json::Value;

use crate::api::{Api, Ask, Embeddings, Problem};

/// Parses the body of a request.
pub(crate) fn parse(api: Api, path: &str, body: Bytes) -> Result<Ask, Problem> {
    let json: Value = serde_json::from_slice(&body).map_err(|error| {
        Problem::Invalid(format!("We could not parse the JSON body of your request: {error}."), None)
    })?;
    let model = json.get("model").and_then(Value::as_str).filter(|model| !model.is_empty());
    let model = model.ok_or_else(|| missing("model"))?;
    let (prompt, input_chars) = match api {
        Api::OpenAi | Api::Anthropic => read_messages("messages", json.get("messages"), json.get("system"))?,
        Api::Responses => match json.get("input") {
            Some(Value::String(text)) => {
                (text.clone(), chars(text) + chars(&text_of(json.get("instructions"))))
            }
            input => read_messages("input", input, json.get("instructions"))?,
        },
        Api::Embeddings => read_inputs(json.get("input"))?,
    };
    let stream = api != Api::Embeddings && json.get("stream").and_then(Value::as_bool).unwrap_or(false);
    Ok(Ask {
        model: model.to_owned(),
        prompt,
        input_chars,
        max_tokens: max_tokens(api, &json)?,
        stream,
        include_usage: json
            .pointer("/stream_options/include_usage")
            .and_then(Value::as_bool)
            .unwrap_or(false),
        embeddings: embeddings(&json),
        path: path.to_owned(),
        body,
    })
}

impl Ask {
    /// A request of no API, for a chosen answer.
    pub(crate) fn other(path: &str, body: Bytes) -> Self {
        Self {
            model: String::new(),
            prompt: path.to_owned(),
            input_chars: body.len(),
            max_tokens: None,
            stream: false,
            include_usage: false,
            embeddings: Embeddings::default(),
            path: path.to_owned(),
            body,
        }
    }
}

/// The prompt and the characters of a list of messages, which is the field of this name.
fn read_messages(
    name: &'static str,
    messages: Option<&Value>,
    system: Option<&Value>,
) -> Result<(String, usize), Problem> {
    let messages = messages.and_then(Value::as_array).filter(|messages| !messages.is_empty());
    let messages = messages.ok_or_else(|| missing(name))?;
    if !messages.iter().all(Value::is_object) {
        return Err(Problem::Invalid(format!("{name}: each must be an object."), Some(name)));
    }
    Ok(read(messages, system))
}

/// The first of the texts to embed, and the characters of all; a token is four.
fn read_inputs(input: Option<&Value>) -> Result<(String, usize), Problem> {
    fn length(input: &Value) -> usize {
        match input {
            Value::String(text) => chars(text),
            Value::Array(parts) => parts.iter().map(length).sum(),
            _ => 4,
        }
    }
    let input = input.ok_or_else(|| missing("input"))?;
    let first = match input {
        Value::String(text) => text.clone(),
        Value::Array(texts) if !texts.is_empty() => {
            texts[0].as_str().map_or_else(|| texts[0].to_string(), str::to_owned)
        }
        _ => return Err(missing("input")),
    };
    Ok((first, length(input)))
}

/// The vectors asked for: one for each text, or each list of tokens.
fn embeddings(json: &Value) -> Embeddings {
    let inputs = match json.get("input") {
        Some(Value::Array(texts)) if !texts.iter().all(Value::is_number) => texts.len(),
        _ => 1,
    };
    let dimensions = json.get("dimensions").and_then(Value::as_u64).unwrap_or(8);
    Embeddings {
        inputs,
        dimensions: usize::try_from(dimensions).unwrap_or(usize::MAX).clamp(1, 4_096),
        base64: json.get("encoding_format").and_then(Value::as_str) == Some("base64"),
    }
}

fn chars(text: &str) -> usize {
    text.chars().count()
}

/// The prompt (the last user message, else the last message), and the characters of all messages.
fn read(messages: &[Value], system: Option<&Value>) -> (String, usize) {
    let texts: Vec<String> = messages.iter().map(|message| text_of(message.get("content"))).collect();
    let chars =
        texts.iter().map(|text| text.chars().count()).sum::<usize>() + text_of(system).chars().count();
    let is_user = |message: &Value| message.get("role").and_then(Value::as_str) == Some("user");
    let last = messages.iter().rposition(is_user).unwrap_or(messages.len() - 1);
    (texts[last].clone(), chars)
}

/// The text of a content: a string, or a list of parts, of which only text counts.
fn text_of(content: Option<&Value>) -> String {
    match content {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Array(parts)) => {
            parts.iter().filter_map(|part| part.get("text").and_then(Value::as_str)).collect()
        }
        _ => String::new(),
    }
}

fn max_tokens(api: Api, json: &Value) -> Result<Option<u64>, Problem> {
    let named =
        |name: &'static str| json.get(name).filter(|value| !value.is_null()).map(|value| (name, value));
    let found = match api {
        Api::OpenAi => named("max_completion_tokens").or_else(|| named("max_tokens")),
        Api::Responses => named("max_output_tokens"),
        Api::Embeddings => None,
        Api::Anthropic => Some(named("max_tokens").ok_or_else(|| missing("max_tokens"))?),
    };
    let Some((name, value)) = found else {
        return Ok(None);
    };
    match value.as_u64() {
        Some(most) if most > 0 => Ok(Some(most)),
        _ => Err(Problem::Invalid(
            format!("Invalid value for '{name}': expected a positive integer."),
            Some(name),
        )),
    }
}

fn missing(field: &'static str) -> Problem {
    Problem::Invalid(format!("Missing required parameter: '{field}'."), Some(field))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_prompt_is_the_last_user_message_and_all_of_them_count() {
        let body = br#"{"model":"m","system":"1234","max_tokens":9,"messages":[
            {"role":"user","content":"first"},
            {"role":"user","content":[{"type":"text","text":"sec"},{"type":"image"},{"type":"text","text":"ond"}]},
            {"role":"assistant","content":"pre"}]}"#;
        let ask = parse(Api::Anthropic, "", body.as_slice().into()).unwrap();
        assert_eq!(ask.prompt, "second");
        assert_eq!(ask.input_chars, 4 + 5 + 6 + 3);
        assert_eq!(ask.max_tokens, Some(9));
    }

    #[test]
    fn invalid_requests_are_refused() {
        let cases = [
            "",
            "{",
            "[]",
            "null",
            r#"{"model":1,"messages":[{}]}"#,
            r#"{"model":"m"}"#,
            r#"{"model":"m","messages":[]}"#,
            r#"{"model":"m","messages":[1]}"#,
            r#"{"model":"m","messages":[{}],"max_tokens":-1}"#,
            r#"{"model":"m","messages":[{}],"max_tokens":0}"#,
            r#"{"model":"m","messages":[{}],"max_tokens":12345678901234567890123456789012345}"#,
        ];
        for body in cases {
            assert!(parse(Api::OpenAi, "", body.into()).is_err(), "{body}");
        }
        let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
        assert!(parse(Api::OpenAi, "", deep.into()).is_err());
    }
}
