//! Servers that people run themselves. None of them reports limits or delays.

use aplomb_core::Reason;

use super::provider;
use crate::dialect::Dialect;

const SELF_HOSTED: Dialect = Dialect { limits: &[], ..Dialect::COMMON };

provider! {
    /// vLLM.
    Vllm: Dialect { name: "vllm", ..SELF_HOSTED }
}

provider! {
    /// llama.cpp's server: 503 while a model is being loaded.
    LlamaCpp: Dialect {
        name: "llama.cpp",
        // Its own `/completion` ends without a marker.
        is_lenient: true,
        ..SELF_HOSTED
    }
}

provider! {
    /// Ollama: JSON lines besides OpenAI's shapes; 503 when its queue is full.
    Ollama: Dialect { name: "ollama", ..SELF_HOSTED }
}

provider! {
    /// Hugging Face's text-generation-inference: 429 when its queue is full, 424 when a generation failed,
    /// which may succeed the next time.
    TextGenerationInference: Dialect {
        name: "text-generation-inference",
        statuses: &[(424, Reason::ServerError)],
        ..SELF_HOSTED
    }
}
