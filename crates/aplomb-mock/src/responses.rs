//! OpenAI's responses API.

use bytes::Bytes;
use serde_json::{Value, json};

use crate::answer::Content;
use crate::api::{Ask, Events, Origin};
use crate::openai::{SERVER_ERROR, created};

pub(crate) fn whole(ask: &Ask, answer: &Content, origin: &Origin) -> Bytes {
    Bytes::from(ended(ask, answer, origin).to_string())
}

pub(crate) fn events(ask: &Ask, answer: &Content, origin: &Origin) -> Events {
    let begun = response(ask, origin, "in_progress");
    let mut opening = vec![
        event(0, "response.created", json!({"response": begun})),
        event(1, "response.in_progress", json!({"response": begun})),
    ];
    let (words, items) = (answer.words.len(), output(answer, origin));
    let mut closing = Vec::new();
    if answer.tool_calls.is_empty() {
        let empty = item(origin, "in_progress", &json!([]));
        let (at, part) =
            (json!({"item_id": item_id(origin), "output_index": 0, "content_index": 0}), text(""));
        opening.push(event(2, "response.output_item.added", json!({"output_index": 0, "item": empty})));
        opening.push(event(3, "response.content_part.added", with(&at, "part", part)));
        let said = answer.words.join(" ");
        closing.push(event(words + 4, "response.output_text.done", with(&at, "text", said.clone().into())));
        closing.push(event(words + 5, "response.content_part.done", with(&at, "part", text(&said))));
        let done = json!({"output_index": 0, "item": items[0]});
        closing.push(event(words + 6, "response.output_item.done", done));
    } else {
        for (index, item) in items.iter().enumerate() {
            let at = json!({"item_id": item["id"], "output_index": index});
            let number = 2 + index * 4;
            let added = json!({"output_index": index, "item": with(item, "arguments", "".into())});
            let arguments = item["arguments"].clone();
            opening.extend([
                event(number, "response.output_item.added", added),
                event(
                    number + 1,
                    "response.function_call_arguments.delta",
                    with(&at, "delta", arguments.clone()),
                ),
                event(
                    number + 2,
                    "response.function_call_arguments.done",
                    with(&with(&at, "name", item["name"].clone()), "arguments", arguments),
                ),
                event(number + 3, "response.output_item.done", json!({"output_index": index, "item": item})),
            ]);
        }
    }
    let name = if answer.cut {
        "response.incomplete"
    } else {
        "response.completed"
    };
    let number = opening.len() + words + closing.len();
    closing.push(event(number, name, json!({"response": ended(ask, answer, origin)})));
    let error = json!({"code": "server_error", "message": SERVER_ERROR, "param": null});
    Events {
        opening,
        delta: |_, origin, n, word| {
            let at = json!({"item_id": item_id(origin), "output_index": 0, "content_index": 0});
            event(
                n + 4,
                "response.output_text.delta",
                with(&with(&at, "delta", word.into()), "logprobs", json!([])),
            )
        },
        closing,
        error: event(4, "error", error),
        ping: Bytes::from_static(b": keep-alive\n\n"),
    }
}

/// A response that has ended, with its output and usage.
fn ended(ask: &Ask, answer: &Content, origin: &Origin) -> Value {
    let mut response = response(ask, origin, if answer.cut { "incomplete" } else { "completed" });
    if answer.cut {
        response["incomplete_details"] = json!({"reason": "max_output_tokens"});
    }
    response["output"] = output(answer, origin).into();
    response["usage"] = json!({
        "input_tokens": answer.input_tokens,
        "input_tokens_details": {"cached_tokens": 0},
        "output_tokens": answer.words.len(),
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": answer.input_tokens + answer.words.len() as u64,
    });
    response
}

fn response(ask: &Ask, origin: &Origin, status: &str) -> Value {
    json!({
        "id": format!("resp_mock{:016x}", origin.id),
        "object": "response",
        "created_at": created(origin.date),
        "status": status,
        "error": null,
        "incomplete_details": null,
        "model": ask.model,
        "output": [],
        "parallel_tool_calls": true,
        "usage": null,
    })
}

fn output(answer: &Content, origin: &Origin) -> Vec<Value> {
    if answer.tool_calls.is_empty() {
        let status = if answer.cut { "incomplete" } else { "completed" };
        return vec![item(origin, status, &json!([text(&answer.words.join(" "))]))];
    }
    let calls = answer.tool_calls.iter().map(|call| {
        json!({
            "type": "function_call",
            "id": format!("fc_{}", call.id),
            "call_id": call.id,
            "name": call.name,
            "arguments": call.arguments.to_string(),
            "status": "completed",
        })
    });
    calls.collect()
}

fn item(origin: &Origin, status: &str, content: &Value) -> Value {
    json!({"type": "message", "id": item_id(origin), "role": "assistant", "status": status, "content": content})
}

fn item_id(origin: &Origin) -> String {
    format!("msg_mock{:016x}", origin.id)
}

fn text(text: &str) -> Value {
    json!({"type": "output_text", "text": text, "annotations": [], "logprobs": []})
}

fn with(object: &Value, name: &str, value: Value) -> Value {
    let mut object = object.clone();
    object[name] = value;
    object
}

fn event(number: usize, name: &str, mut data: Value) -> Bytes {
    data["type"] = name.into();
    data["sequence_number"] = number.into();
    Bytes::from(format!("event: {name}\ndata: {data}\n\n"))
}
