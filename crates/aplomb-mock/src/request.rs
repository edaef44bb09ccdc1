//! Reading the body of a request.

use serde_json::Value;

use crate::api::{Api, Ask, Problem};

/// Parses the body of a request.
pub(crate) fn parse(api: Api, body: &[u8]) -> Result<Ask, Problem> {
    let json: Value = serde_json::from_slice(body).map_err(|error| {
        Problem::Invalid(format!("We could not parse the JSON body of your request: {error}."), None)
    })?;
    let model = json.get("model").and_then(Value::as_str).filter(|model| !model.is_empty());
    let model = model.ok_or_else(|| missing("model"))?;
    let messages = json.get("messages").and_then(Value::as_array).filter(|messages| !messages.is_empty());
    let messages = messages.ok_or_else(|| missing("messages"))?;
    if !messages.iter().all(Value::is_object) {
        return Err(Problem::Invalid("messages: each must be an object.".to_owned(), Some("messages")));
    }
    let (prompt, input_chars) = read(messages, json.get("system"));
    Ok(Ask {
        model: model.to_owned(),
        prompt,
        input_chars,
        max_tokens: max_tokens(api, &json)?,
        stream: json.get("stream").and_then(Value::as_bool).unwrap_or(false),
        include_usage: json
            .pointer("/stream_options/include_usage")
            .and_then(Value::as_bool)
            .unwrap_or(false),
    })
}

/// The prompt (the last user message, else the last message), and the characters of all messages.
fn read(messages: &[Value], system: Option<&Value>) -> (String, usize) {
    let texts: Vec<String> = messages.iter().map(|message| text(message.get("content"))).collect();
    let chars = texts.iter().map(|text| text.chars().count()).sum::<usize>() + text(system).chars().count();
    let is_user = |message: &Value| message.get("role").and_then(Value::as_str) == Some("user");
    let last = messages.iter().rposition(is_user).unwrap_or(messages.len() - 1);
    (texts[last].clone(), chars)
}

/// The text of a content: a string, or a list of parts, of which only text counts.
fn text(content: Option<&Value>) -> String {
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
        let ask = parse(Api::Anthropic, body).unwrap();
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
            assert!(parse(Api::OpenAi, body.as_bytes()).is_err(), "{body}");
        }
        let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
        assert!(parse(Api::OpenAi, deep.as_bytes()).is_err());
    }
}
