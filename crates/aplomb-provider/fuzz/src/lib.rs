//! Helpers for the targets.

use aplomb_core::WallClock;
use aplomb_provider::{Anthropic, Bedrock, Fireworks, Gemini, Generic, Head, OpenAi, Provider, VertexAi};
use http::{HeaderMap, StatusCode};

/// Providers that differ in more than the rows of a table.
pub const PROVIDERS: &[&dyn Provider] = &[
    &OpenAi, &Anthropic, &Gemini, &VertexAi, &Bedrock, &Fireworks, &Generic,
];

const STATUSES: [u16; 8] = [200, 400, 403, 413, 429, 499, 503, 529];

/// Calls `look` with a head of these headers and a status picked by `choice`.
pub fn with_head<T>(choice: u8, headers: &HeaderMap, look: impl FnOnce(&Head<'_>) -> T) -> T {
    let status = STATUSES[usize::from(choice) % STATUSES.len()];
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::OK);
    look(&Head::new(status, headers, &WallClock::system()))
}
