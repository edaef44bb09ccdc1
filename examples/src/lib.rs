//! The code of the larger examples, and their tests. The small examples are one file each.
#![allow(
    clippy::collapsible_if,
    reason = "the workspace is written without let chains, for its minimum Rust version"
)]
#![allow(clippy::doc_markdown, reason = "OpenAI is a name, not an item")]

pub mod batch;
pub mod concurrency;
pub mod jitter;
pub mod plot;
pub mod rate_limit;
pub mod simulate;
