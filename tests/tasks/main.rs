//! Ten things to do with aplomb, written as its users would: from the README, the guides and the documentation of the
//! public items alone, without an annotation that only the compiler needs.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

mod circuit;
mod classifier;
mod events;
mod layers;
mod quota_change;
mod retry;
mod router;
mod tenants;
mod test_own_code;
mod tokens;

/// A request to a chat completions API.
fn chat(prompt: &str) -> http::Request<String> {
    let messages = serde_json::json!([{"role": "user", "content": prompt}]);
    let body = serde_json::json!({"model": "gpt-4o-mini", "max_tokens": 100, "messages": messages});
    http::Request::post("https://api.openai.com/v1/chat/completions")
        .body(body.to_string())
        .unwrap()
}
