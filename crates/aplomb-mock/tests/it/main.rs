//! The mock from outside: in process in paused time, and over real sockets.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails there")]
#![allow(clippy::doc_markdown, reason = "OpenAI is a name, not an item")]

mod abuse;
mod charging;
mod chosen;
mod endless;
mod errors;
mod faults;
mod formats;
mod limits;
mod overload;
mod sockets;
mod support;
