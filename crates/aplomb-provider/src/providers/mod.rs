//! The providers. Each is a unit struct with a table of how it differs from the others.

mod gateways;
mod hosted;
mod hosts;
mod self_hosted;

pub use gateways::{Generic, HuggingFace, LiteLlm, OpenRouter};
pub use hosted::{
    Anthropic, AzureOpenAi, Bedrock, Cerebras, Cohere, DeepSeek, Fireworks, Gemini, Groq, LlmEngine, Mistral,
    OpenAi, Together, VertexAi, XAi,
};
pub use hosts::{Hosts, detect};
pub use self_hosted::{LlamaCpp, Ollama, TextGenerationInference, Vllm};

/// Defines a provider by its table.
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

                fn judge(&self, head: &$crate::Head<'_>, body: &[u8]) -> aplomb_core::Classification {
                    $crate::error::classify::response(head, body, &DIALECT)
                }

                fn judges_success(&self) -> bool {
                    false
                }

                fn limits(&self, head: &$crate::Head<'_>) -> Vec<aplomb_core::Reading> {
                    $crate::limits::read(head, DIALECT.limits)
                }

                fn stream(&self, head: &$crate::Head<'_>) -> Box<dyn $crate::StreamReader> {
                    Box::new($crate::stream::reader(head, &DIALECT))
                }

                fn reader(&self, head: &$crate::Head<'_>) -> $crate::AnyReader {
                    $crate::stream::reader(head, &DIALECT)
                }

                fn estimate(
                    &self,
                    path: &str,
                    body: &[u8],
                    tokenizer: Option<&dyn $crate::Tokenizer>,
                ) -> $crate::Estimate {
                    $crate::Estimate::of(path, body, tokenizer, DIALECT.image_tokens)
                }

                fn accounting(&self) -> $crate::Accounting {
                    DIALECT.accounting
                }
            }
        };
    };
}
use provider;
