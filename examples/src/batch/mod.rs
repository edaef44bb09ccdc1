//! A batch of prompts, answered: the example `batch`.
//!
//! ```text
//! input ─► run: workers ─► ask ─► endpoint (aplomb's layers) ─► attempts ─► client
//!            └─► output
//! ```

mod args;
mod ask;
mod attempts;
mod cause;
mod client;
mod demo;
mod endpoint;
mod health;
mod ideal;
mod input;
mod job;
mod key;
mod lines;
mod naive;
mod output;
mod progress;
mod prompt;
mod resume;
mod run;
#[cfg(test)]
mod run_tests;
mod stdio;
mod summary;
mod table;
mod target;

pub use args::{ApiName, Args};
pub use job::{Exit, run};
pub use stdio::Stdio;
