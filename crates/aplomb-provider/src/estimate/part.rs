//! Which part of a request a value is, by the keys above it.

use super::attachment::Kind;

/// Which part of a request a value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// The request, or an object in which some providers keep its settings.
    Request,
    /// Text for the model.
    Prompt,
    /// JSON that the model reads as it is: tools, arguments, results.
    Json,
    /// An image, audio or a file.
    Attachment(Kind),
    /// The maximum output.
    OutputLimit,
    /// The number of answers.
    AnswerCount,
    /// Anything that does not count.
    Ignored,
}

impl Part {
    /// The part that the value under `key` is.
    pub(super) fn at(self, key: &str) -> Self {
        match self {
            Self::Request => Self::in_request(key),
            Self::Prompt => Self::in_prompt(key),
            Self::Json => Self::Json,
            // A document may consist of parts.
            Self::Attachment(_) if key == "content" => Self::Prompt,
            Self::Attachment(kind) => Self::Attachment(kind),
            Self::OutputLimit | Self::AnswerCount | Self::Ignored => Self::Ignored,
        }
    }

    fn in_request(key: &str) -> Self {
        match key {
            "messages" | "system" | "input" | "instructions" | "prompt" | "suffix" | "contents"
            | "content" | "systemInstruction" | "system_instruction" | "message" | "chat_history"
            | "preamble" | "documents" | "inputs" | "inputText" | "texts" | "query" => Self::Prompt,
            "tools" | "functions" | "toolConfig" | "response_format" | "format" | "responseSchema"
            | "response_schema" => Self::Json,
            "images" => Self::Attachment(Kind::Image),
            "generationConfig"
            | "generation_config"
            | "inferenceConfig"
            | "textGenerationConfig"
            | "parameters"
            | "options"
            | "text" => Self::Request,
            "max_completion_tokens"
            | "max_output_tokens"
            | "max_tokens"
            | "maxTokens"
            | "maxOutputTokens"
            | "max_new_tokens"
            | "max_gen_len"
            | "maxTokenCount"
            | "max_tokens_to_sample"
            | "num_predict"
            | "n_predict" => Self::OutputLimit,
            "n" | "best_of" | "candidateCount" | "candidate_count" | "num_generations" => Self::AnswerCount,
            _ => Self::Ignored,
        }
    }

    fn in_prompt(key: &str) -> Self {
        match key {
            "content" | "contents" | "text" | "output" | "parts" | "message" | "thinking" | "snippet"
            | "reasoning_content" | "refusal" | "summary" | "title" | "tool_calls" | "function"
            | "functionCall" | "functionResponse" | "function_call" | "toolUse" | "toolResult"
            | "reasoningContent" | "reasoningText" | "prompt" | "data" => Self::Prompt,
            "arguments" | "args" | "input" | "response" | "json" | "parameters" | "results" => Self::Json,
            "image_url" | "image" | "images" => Self::Attachment(Kind::Image),
            "input_audio" | "audio" => Self::Attachment(Kind::Audio),
            "source" | "inlineData" | "inline_data" | "fileData" | "file_data" | "file_id" | "file_url"
            | "file" | "document" | "video" => Self::Attachment(Kind::File),
            _ => Self::Ignored,
        }
    }
}
