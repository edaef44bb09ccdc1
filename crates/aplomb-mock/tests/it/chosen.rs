//! Answers that the user chooses, in each API's format.

use aplomb_mock::{Answer, Fault, Mock, Plan};
use http::Request;
use serde_json::{Value, json};

use crate::support::{ANTHROPIC, OPENAI, ask, post, question, send, streamed};

const RESPONSES: &str = "/v1/responses";

fn weather() -> Mock {
    Mock::builder()
        .answer_with(|asked| match asked.prompt() {
            "weather" => Answer::tool_call("get_weather", json!({"city": "Rome"}))
                .and_tool_call("get_time", json!({"zone": "CET"})),
            "forbidden" => {
                Answer::json(json!({"error": {"message": "no"}})).status(403).header("x-why", "rules")
            }
            "usual" => Answer::usual(),
            prompt => Answer::text(prompt.to_uppercase()),
        })
        .build()
}

#[tokio::test]
async fn text_is_put_into_the_format_that_was_asked_for() {
    let mock = weather();
    let json = ask(&mock, "two words").await.unwrap().json();
    assert_eq!(json["choices"][0]["message"]["content"], "TWO WORDS");
    assert_eq!(json["usage"]["completion_tokens"], 2);
    let json = send(&mock, post(ANTHROPIC, question("two words"))).await.unwrap().json();
    assert_eq!(json["content"][0]["text"], "TWO WORDS");
    let stream = send(&mock, post(OPENAI, streamed("two words"))).await.unwrap();
    assert!(stream.body.contains("\"TWO\"") && stream.body.contains("\" WORDS\""), "{}", stream.body);
    let json = ask(&mock, "usual").await.unwrap().json();
    assert_eq!(json["choices"][0]["message"]["content"], aplomb_mock::answer("usual", 32));
}

#[tokio::test]
async fn tools_are_called_whole_and_in_streams() {
    let mock = weather();
    let json = ask(&mock, "weather").await.unwrap().json();
    let choice = &json["choices"][0];
    assert_eq!(
        (&choice["finish_reason"], &choice["message"]["content"]),
        (&json!("tool_calls"), &Value::Null)
    );
    assert_eq!(choice["message"]["tool_calls"][0]["function"]["arguments"], r#"{"city":"Rome"}"#);
    assert_eq!(choice["message"]["tool_calls"][1]["id"], "call_mock2");

    let stream = send(&mock, post(OPENAI, streamed("weather"))).await.unwrap();
    let first: Value = serde_json::from_str(stream.events()[0].1).unwrap();
    assert_eq!(first["choices"][0]["delta"]["tool_calls"][1]["function"]["name"], "get_time");

    let json = send(&mock, post(ANTHROPIC, question("weather"))).await.unwrap().json();
    assert_eq!(
        (&json["stop_reason"], &json["content"][0]["input"]),
        (&json!("tool_use"), &json!({"city": "Rome"}))
    );
    let stream = send(&mock, post(ANTHROPIC, streamed("weather"))).await.unwrap();
    let names: Vec<_> = stream.events().into_iter().filter_map(|(name, _)| name).collect();
    let block = ["content_block_start", "content_block_delta", "content_block_stop"];
    assert_eq!(
        names,
        [
            &["message_start"][..],
            &block,
            &block,
            &["message_delta", "message_stop"]
        ]
        .concat()
    );
}

#[tokio::test]
async fn any_json_any_status_any_path() {
    let mock = weather();
    let refused = ask(&mock, "forbidden").await.unwrap();
    assert_eq!((refused.status.as_u16(), refused.header("x-why")), (403, Some("rules")));
    assert_eq!(refused.json(), json!({"error": {"message": "no"}}));

    let mock = Mock::builder()
        .answer_with(|asked| match asked.path() {
            "/v1/models" => Answer::json(json!({"data": []})),
            "/v1/audio/transcriptions" => Answer::json(json!({"text": asked.body().len()})),
            _ => Answer::usual(),
        })
        .build();
    let models = Request::get("/v1/models").body(String::new()).unwrap();
    assert_eq!(send(&mock, models).await.unwrap().json(), json!({"data": []}));
    let upload = send(&mock, post("/v1/audio/transcriptions", "not JSON")).await.unwrap();
    assert_eq!(upload.json(), json!({"text": 8}));
    assert_eq!(send(&mock, post("/v1/other", "{}")).await.unwrap().status, 404);
}

#[tokio::test]
async fn faults_and_limits_come_before_a_choice() {
    let plan = Plan::script([Some(Fault::Unavailable), None, Some(Fault::Truncate)]);
    let mock = Mock::builder().plan(plan).answer_with(|_| Answer::json(json!({"chosen": true}))).build();
    assert_eq!(ask(&mock, "hello").await.unwrap().status, 503);
    assert_eq!(ask(&mock, "hello").await.unwrap().json(), json!({"chosen": true}));
    assert!(ask(&mock, "hello").await.is_err(), "cut off");
}

#[tokio::test]
async fn responses_are_whole_or_streamed() {
    let mock = Mock::builder().answer_words(3).build();
    let input = json!([{"role": "user", "content": [{"type": "input_text", "text": "hello"}]}]);
    let mut request = json!({"model": "m", "input": input, "instructions": "be brief"});
    let json = send(&mock, post(RESPONSES, &request)).await.unwrap().json();
    assert_eq!((&json["object"], &json["status"]), (&json!("response"), &json!("completed")));
    let said = aplomb_mock::answer("hello", 3);
    assert_eq!(json["output"][0]["content"][0]["text"], said);
    assert_eq!(json["usage"]["input_tokens"], 4);

    request["stream"] = true.into();
    request["input"] = "hello".into();
    let stream = send(&mock, post(RESPONSES, &request)).await.unwrap();
    let events: Vec<Value> =
        stream.events().iter().map(|(_, data)| serde_json::from_str(data).unwrap()).collect();
    let numbers: Vec<_> = events.iter().map(|event| event["sequence_number"].as_u64().unwrap()).collect();
    assert_eq!(numbers, (0..events.len() as u64).collect::<Vec<_>>());
    let deltas: String = events.iter().filter_map(|event| event["delta"].as_str()).collect();
    let last = events.last().unwrap();
    assert_eq!((deltas, &last["type"]), (said, &json!("response.completed")));

    request["max_output_tokens"] = 2.into();
    let stream = send(&mock, post(RESPONSES, &request)).await.unwrap();
    assert_eq!(stream.events().last().unwrap().0, Some("response.incomplete"));

    let mut tools = json!({"model": "m", "input": "weather"});
    let json = send(&weather(), post(RESPONSES, &tools)).await.unwrap().json();
    assert_eq!(json["output"][1]["name"], "get_time");
    tools["stream"] = true.into();
    let stream = send(&weather(), post(RESPONSES, &tools)).await.unwrap();
    assert_eq!(stream.events().len(), 2 + 2 * 4 + 1);
}

#[tokio::test]
async fn embeddings_are_unit_vectors_and_charge_their_input() {
    let mock = Mock::builder().tokens_per_minute(1_000).token_burst(10).build();
    let embed = |body: Value| send(&mock, post("/v1/embeddings", body));
    let request = json!({"model": "m", "input": ["one", "two and"], "dimensions": 5});
    let answer = embed(request.clone()).await.unwrap();
    let json = answer.json();
    let vector: Vec<f64> = serde_json::from_value(json["data"][1]["embedding"].clone()).unwrap();
    assert_eq!((json["data"].as_array().unwrap().len(), vector.len()), (2, 5));
    assert!((vector.iter().map(|number| number * number).sum::<f64>() - 1.0).abs() < 1e-5);
    assert_eq!(json["usage"]["total_tokens"], 3);
    assert_eq!(answer.header("x-ratelimit-remaining-tokens"), Some("7"));

    let encoded = json!({"model": "m", "input": [1, 2], "encoding_format": "base64"});
    assert_eq!(embed(encoded).await.unwrap().json()["data"][0]["embedding"].as_str().unwrap().len(), 44);
    assert_eq!(embed(json!({"model": "m", "input": []})).await.unwrap().status, 400);
    let refused = embed(json!({"model": "m", "input": "x".repeat(200)})).await.unwrap();
    assert_eq!(refused.status, 429);
}
