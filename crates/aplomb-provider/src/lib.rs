#![doc = include_str!("../README.md")]

mod accounting;
mod ask_usage;
mod dialect;
mod error;
mod estimate;
mod head;
mod json;
mod limits;
mod media;
mod model;
mod provider;
mod providers;
mod settings;
mod stream;
mod time;
mod usage;
mod whole;

pub use accounting::{Accounting, Correction, Tokens};
pub use error::{Judgement, Reason};
pub use estimate::{CharactersPerToken, Estimate, Tokenizer, TokenizerFn, tokenizer};
pub use head::Head;
pub use json::Text;
pub use model::model;
pub use provider::Provider;
pub use providers::{
    Anthropic, AzureOpenAi, Bedrock, Cerebras, Cohere, DeepSeek, Fireworks, Gemini, Generic, Groq, Hosts,
    HuggingFace, LiteLlm, LlamaCpp, LlmEngine, Mistral, Ollama, OpenAi, OpenRouter, TextGenerationInference,
    Together, VertexAi, Vllm, XAi, detect,
};
pub use settings::{DailyQuota, Settings, Tuned};
pub use stream::{StreamEnd, StreamEvent, StreamReader};
