//! What the targets share.

use aplomb_core::WallClock;
use aplomb_provider::{Anthropic, Bedrock, Fireworks, Gemini, Generic, Head, OpenAi, Provider, VertexAi};
use http::{HeaderMap, StatusCode};

/// Those that differ in what they read, and not only in a table's rows.
pub const PROVIDERS: &[&dyn Provider] = &[
    &OpenAi, &Anthropic, &Gemini, &VertexAi, &Bedrock, &Fireworks, &Generic,
];

const STATUSES: [u16; 8] = [200, 400, 403, 413, 429, 499, 503, 529];

/// Has a response's head at hand: a status that `choice` picks, and these headers.
pub fn with_head<T>(choice: u8, headers: &HeaderMap, look: impl FnOnce(&Head<'_>) -> T) -> T {
    let status = STATUSES[usize::from(choice) % STATUSES.len()];
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::OK);
    look(&Head::new(status, headers, &WallClock::system()))
}
