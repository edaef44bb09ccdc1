#![doc = include_str!("../README.md")]

mod anthropic;
mod code;
mod detect;
mod duration;
mod error_body;
mod estimate;
mod generic;
mod head;
mod hint;
mod judge;
mod judgement;
mod openai;
mod provider;
mod reason;
mod rfc3339;
mod shape;
mod sse;
mod stream;
mod text;
mod usage;
mod whole;

pub use anthropic::Anthropic;
pub use detect::detect;
pub use estimate::Estimate;
pub use generic::Generic;
pub use head::Head;
pub use judgement::Judgement;
pub use openai::OpenAi;
pub use provider::Provider;
pub use reason::Reason;
pub use stream::{StreamEnd, StreamEvent, StreamReader};
