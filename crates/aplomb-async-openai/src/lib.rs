#![doc = include_str!("../README.md")]

mod error;
mod service;
mod stream;

pub use error::{broken_stream, endpoint_error};
pub use service::OpenAiService;
