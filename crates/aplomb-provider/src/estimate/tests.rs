//! Estimates of requests in every shape.

use serde_json::{Value, json};

use super::*;

fn estimate(body: &Value) -> (u64, Option<u64>) {
    let estimate = of(body.to_string().as_bytes());
    (estimate.input(), estimate.output())
}

fn of(body: &[u8]) -> Estimate {
    Estimate::of("/v1/chat/completions", body, None, ImageTokens::OPENAI)
}

#[test]
fn the_prompt_in_every_shape() {
    for (body, expected) in [
        (
            json!({"model": "mmmm", "max_tokens": 100, "n": 2, "messages": [
                {"role": "system", "content": "12345678"},
                {"role": "user", "content": [{"type": "text", "text": "1234"}]}
            ]}),
            (3, Some(200)),
        ),
        (
            json!({"max_tokens": 5, "system": "1234", "messages": [{"role": "user", "content": "12345"}]}),
            (3, Some(5)),
        ),
        (json!({"max_output_tokens": 7, "instructions": "1234", "input": "1234"}), (2, Some(7))),
        (
            json!({"contents": [{"role": "user", "parts": [{"text": "12345678"}]}],
                "systemInstruction": {"parts": [{"text": "1234"}]},
                "generationConfig": {"maxOutputTokens": 9, "candidateCount": 3}}),
            (3, Some(27)),
        ),
        (
            json!({"messages": [{"role": "user", "content": [{"text": "1234"}]}], "system": [{"text": "1234"}],
                "inferenceConfig": {"maxTokens": 9}}),
            (2, Some(9)),
        ),
        (
            json!({"message": "1234", "chat_history": [{"message": "1234"}], "preamble": "1"}),
            (3, None),
        ),
        (json!({"inputs": "12345", "parameters": {"max_new_tokens": 4}}), (2, Some(4))),
        (json!({"prompt": "1234", "options": {"num_predict": 4}}), (1, Some(4))),
        (json!({"input": [[1, 2, 3], [4]]}), (4, None)),
        (json!({"input": ["1234", "5"]}), (2, None)),
        (json!({"inputText": "1234", "textGenerationConfig": {"maxTokenCount": 4}}), (1, Some(4))),
        (json!([1, 2]), (0, None)),
        (json!("text"), (0, None)),
        (json!({"max_tokens": -1, "n": 0}), (0, None)),
        (json!({"max_tokens": u64::MAX, "n": 2}), (0, Some(u64::MAX))),
    ] {
        assert_eq!(estimate(&body), expected, "{body}");
    }
}

/// It is sent and charged anyway: a server may read what serde refuses.
#[test]
fn a_body_that_breaks_off_counts_a_token_for_four_bytes() {
    let deep = format!(r#"{{"max_tokens": 7, "n": 2, "tools": {}"#, "[".repeat(200));
    for (body, output) in [
        (&br#"{"max_tokens": 7, "messages": [{"content": "12345678\ud83d"}]}"#[..], Some(7)),
        (br#"{"messages": [{"content": "12345678\ud83d"}], "max_tokens": 7}"#, None),
        (deep.as_bytes(), Some(14)),
        (br#"{"prompt": "12345678""#, None),
        (br#" [{"prompt": "12345678""#, None),
    ] {
        assert_eq!(of(body), Estimate::new((body.len() as u64).div_ceil(4), output));
    }
    // A body that is not JSON is not a prompt.
    for body in [
        &b"not JSON"[..],
        b"--boundary\r\ncontent-disposition: form-data",
        b"",
        b"\xEF\xBB\xBF",
        b"\0",
    ] {
        assert_eq!(of(body), Estimate::default());
    }
}

#[test]
fn a_byte_order_mark_changes_nothing() {
    let body = r#"{"prompt": "12345678", "max_tokens": 7}"#;
    assert_eq!(of(format!("\u{feff}{body}").as_bytes()), of(body.as_bytes()));
    assert_eq!(of(body.as_bytes()), Estimate::new(2, Some(7)));
}

#[test]
fn tools_and_their_calls_are_read_too() {
    let tools = json!({"tools": [{"type": "function", "function": {"name": "weather",
        "description": "What the weather is like somewhere",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}}}]});
    let written = tools["tools"].to_string().len() as u64 / 4;
    let (read, _) = estimate(&tools);
    assert!(read.abs_diff(written) < written / 3, "{read} {written}");
    let call = json!({"messages": [{"tool_calls": [{"function": {"name": "f", "arguments": "12345678"}}]}]});
    assert_eq!(estimate(&call).0, 2);
    let call =
        json!({"messages": [{"content": [{"type": "tool_use", "id": "x", "input": {"city": "Bonn"}}]}]});
    assert_eq!(estimate(&call).0, 3);
}

#[test]
fn images_sounds_and_files() {
    let data = "A".repeat(4_000);
    let url = format!("data:image/png;base64,{data}");
    let pdf = format!("data:application/pdf;base64,{data}");
    for (part, tokens) in [
        (json!({"type": "image_url", "image_url": {"url": url}}), 765),
        (json!({"type": "image_url", "image_url": {"url": "https://x/y.png", "detail": "low"}}), 85),
        (json!({"type": "input_image", "image_url": url}), 765),
        (
            json!({"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": data}}),
            765,
        ),
        (json!({"type": "image", "source": {"type": "url", "url": "https://x/y.png"}}), 1_000),
        (json!({"image": {"format": "png", "source": {"bytes": data}}}), 765),
        (json!({"inlineData": {"mimeType": "image/png", "data": data}}), 765),
        (json!({"inline_data": {"mime_type": "audio/mp3", "data": data}}), 6),
        (json!({"fileData": {"mimeType": "application/pdf", "fileUri": "gs://x"}}), 1_000),
        (json!({"type": "input_audio", "input_audio": {"data": data, "format": "wav"}}), 6),
        (json!({"type": "file", "file": {"filename": "a.pdf", "file_data": pdf}}), 121),
        (json!({"type": "input_file", "file_data": pdf}), 121),
        (json!({"type": "input_file", "file_id": "file-1"}), 1_000),
        (
            json!({"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": data}}),
            1_000,
        ),
        (
            json!({"type": "document", "source": {"type": "content", "content": [{"type": "text", "text": "1234"}]}}),
            1,
        ),
        (json!({"image_url": {}}), 0),
    ] {
        let body = json!({"messages": [{"role": "user", "content": [part]}]});
        assert_eq!(estimate(&body).0, tokens, "{}", &part.to_string()[..60.min(part.to_string().len())]);
    }
    let ollama = json!({"prompt": "1234", "images": [data, data]});
    assert_eq!(estimate(&ollama).0, 1 + 2 * 765);
}
