//! The providers: each a value, and a table of where it differs.

mod anthropic;
mod aws;
mod azure;
mod detect;
mod gateways;
mod generic;
mod google;
mod openai;
mod others;
mod self_hosted;

pub use anthropic::Anthropic;
pub use aws::Bedrock;
pub use azure::AzureOpenAi;
pub use detect::{Hosts, detect};
pub use gateways::{LiteLlm, OpenRouter};
pub use generic::Generic;
pub use google::{Gemini, VertexAi};
pub use openai::OpenAi;
pub use others::{
    Cerebras, Cohere, DeepSeek, Fireworks, Groq, HuggingFace, LlmEngine, Mistral, Together, XAi,
};
pub use self_hosted::{LlamaCpp, Ollama, TextGenerationInference, Vllm};

/// A provider that is told by its table alone.
macro_rules! provider {
    ($(#[$doc:meta])* $name:ident: $dialect:expr) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct $name;

        const _: () = {
            static DIALECT: $crate::dialect::Dialect = $dialect;

            impl $crate::Provider for $name {
                fn name(&self) -> &'static str {
                    DIALECT.name
                }

                fn judge(&self, head: &$crate::Head<'_>, body: &[u8]) -> $crate::Judgement {
                    $crate::error::judge::response(head, body, &DIALECT)
                }

                fn limits(&self, head: &$crate::Head<'_>) -> Vec<aplomb_core::Reading> {
                    $crate::limits::read(head, DIALECT.limits)
                }

                fn usage(&self, head: &$crate::Head<'_>, body: &[u8]) -> Option<aplomb_core::Usage> {
                    $crate::whole::usage(self, head, body)
                }

                fn stream(&self, head: &$crate::Head<'_>) -> Box<dyn $crate::StreamReader> {
                    $crate::stream::begin(head, &DIALECT)
                }

                fn estimate_with(&self, body: &[u8], tokenizer: &dyn $crate::Tokenizer) -> $crate::Estimate {
                    $crate::Estimate::of(body, tokenizer, DIALECT.rates)
                }

                fn accounting(&self) -> $crate::Accounting {
                    DIALECT.accounting
                }
            }
        };
    };
}
use provider;
