#![doc = include_str!("../README.md")]

mod accounting;
mod body_format;
mod buffered;
mod dialect;
#[doc(hidden)]
pub mod endpoint;
mod error;
mod estimate;
mod head;
mod include_usage;
mod json;
mod limits;
mod model;
mod provider;
mod providers;
mod rules;
mod settings;
mod stream;
mod time;
mod tuned;
mod usage;

/// The vocabulary that all layers share: outcomes, backoffs, classifiers, events.
pub use aplomb_core as core;

pub use accounting::{Accounting, Correction, Tokens};
pub use estimate::{Estimate, Tokenizer};
pub use head::Head;
pub use json::Text;
pub use model::model;
pub use provider::Provider;
pub use providers::{
    Anthropic, AzureOpenAi, Bedrock, Cerebras, Cohere, DeepSeek, Fireworks, Gemini, Generic, Groq, Hosts,
    HuggingFace, LiteLlm, LlamaCpp, LlmEngine, Mistral, Ollama, OpenAi, OpenRouter, TextGenerationInference,
    Together, VertexAi, Vllm, XAi, detect,
};
pub use rules::{InvalidRule, Rule};
pub use settings::{DailyQuota, Settings};
#[doc(hidden)]
pub use stream::AnyReader;
pub use stream::{StreamEnd, StreamEvent, StreamReader};
pub use tuned::Tuned;
