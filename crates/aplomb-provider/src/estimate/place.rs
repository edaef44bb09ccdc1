//! What of a request counts, by where it stands.

use super::media::Kind;

/// Where a value stands, which says what of it counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// The request, and the objects in which some providers keep its settings.
    Top,
    /// What the model gets to read.
    Prompt,
    /// JSON that the model gets to read as it is: tools, arguments, results.
    Json,
    /// An image, a sound, a file.
    Media(Kind),
    /// The most output.
    Limit,
    /// How many answers.
    Answers,
    /// Nothing that counts.
    Other,
}

impl Place {
    pub(super) fn of(self, key: &str) -> Self {
        match self {
            Self::Top => Self::in_request(key),
            Self::Prompt => Self::in_prompt(key),
            Self::Json => Self::Json,
            Self::Media(kind) => Self::in_media(kind, key),
            Self::Limit | Self::Answers | Self::Other => Self::Other,
        }
    }

    fn in_request(key: &str) -> Self {
        match key {
            "messages" | "system" | "input" | "instructions" | "prompt" | "suffix" | "contents"
            | "content" | "systemInstruction" | "system_instruction" | "message" | "chat_history"
            | "preamble" | "documents" | "inputs" | "inputText" | "texts" | "query" => Self::Prompt,
            "tools" | "functions" | "toolConfig" | "response_format" | "format" | "responseSchema"
            | "response_schema" => Self::Json,
            "images" => Self::Media(Kind::Image),
            "generationConfig"
            | "generation_config"
            | "inferenceConfig"
            | "textGenerationConfig"
            | "parameters"
            | "options"
            | "text" => Self::Top,
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
            | "n_predict" => Self::Limit,
            "n" | "best_of" | "candidateCount" | "candidate_count" | "num_generations" => Self::Answers,
            _ => Self::Other,
        }
    }

    fn in_prompt(key: &str) -> Self {
        match key {
            "content" | "contents" | "text" | "output" | "parts" | "message" | "thinking" | "snippet"
            | "reasoning_content" | "refusal" | "summary" | "title" | "tool_calls" | "function"
            | "functionCall" | "functionResponse" | "function_call" | "toolUse" | "toolResult"
            | "reasoningContent" | "reasoningText" | "prompt" | "data" => Self::Prompt,
            "arguments" | "args" | "input" | "response" | "json" | "parameters" | "results" => Self::Json,
            "image_url" | "image" | "images" => Self::Media(Kind::Image),
            "input_audio" | "audio" => Self::Media(Kind::Audio),
            "source" | "inlineData" | "inline_data" | "fileData" | "file_data" | "file_id" | "file_url"
            | "file" | "document" | "video" => Self::Media(Kind::File),
            _ => Self::Other,
        }
    }

    fn in_media(kind: Kind, key: &str) -> Self {
        match key {
            // A document may be made of parts.
            "content" => Self::Prompt,
            _ => Self::Media(kind),
        }
    }
}

/// What a part of a thing says about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Key {
    Format,
    Detail,
    Name,
    Data,
    Outer,
}

impl Key {
    pub(super) fn of(key: &str) -> Self {
        match key {
            "mimeType" | "mime_type" | "media_type" | "format" => Self::Format,
            "detail" => Self::Detail,
            "url" | "file_id" | "fileUri" | "file_uri" | "file_url" | "uri" | "s3Location" => Self::Name,
            "data" | "bytes" | "file_data" => Self::Data,
            _ => Self::Outer,
        }
    }
}
