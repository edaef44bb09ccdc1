//! Servers that people run themselves. None of them tells of limits or names a delay.

use super::provider;
use crate::Reason;
use crate::dialect::Dialect;

const SELF_HOSTED: Dialect = Dialect { limits: &[], ..Dialect::COMMON };

provider! {
    /// vLLM.
    Vllm: Dialect { name: "vllm", ..SELF_HOSTED }
}

provider! {
    /// llama.cpp's server: a model that is being loaded is a 503.
    LlamaCpp: Dialect {
        name: "llama.cpp",
        // Its own `/completion` ends without a marker.
        is_lenient: true,
        ..SELF_HOSTED
    }
}

provider! {
    /// Ollama: its own lines of JSON besides OpenAI's shapes; a full queue is a 503.
    Ollama: Dialect { name: "ollama", ..SELF_HOSTED }
}

provider! {
    /// Hugging Face's text-generation-inference: a full queue is a 429, and a generation that failed a
    /// 424, which may work the next time.
    TextGenerationInference: Dialect {
        name: "text-generation-inference",
        statuses: &[(424, Reason::ServerError)],
        ..SELF_HOSTED
    }
}
