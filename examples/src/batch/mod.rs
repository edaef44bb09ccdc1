//! A batch of prompts, answered: the example `batch`.
//!
//! ```text
//! input ─► run: workers ─► ask ─► endpoint (aplomb's layers) ─► counted ─► client
//!            └─► output
//! ```

mod api;
mod args;
mod ask;
mod client;
mod closing;
mod counted;
mod demo;
mod endpoint;
mod ideal;
mod input;
mod job;
mod lines;
mod naive;
mod output;
mod progress;
mod prompt;
mod resume;
mod run;
mod signs;
mod stdio;
mod table;

pub use args::{ApiName, Args};
pub use job::{Exit, run};
pub use stdio::Stdio;
