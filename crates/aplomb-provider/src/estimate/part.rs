//! The part of a request that a value is, by the keys above it.

use super::attachment::Kind;

/// The part of a request that a value is.
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
    pub(super) fn at(self, key: &[u8]) -> Self {
        match self {
            Self::Request => Self::in_request(key),
            Self::Prompt => Self::in_prompt(key),
            Self::Json => Self::Json,
            // A document may consist of parts.
            Self::Attachment(_) if key == b"content" => Self::Prompt,
            Self::Attachment(kind) => Self::Attachment(kind),
            Self::OutputLimit | Self::AnswerCount | Self::Ignored => Self::Ignored,
        }
    }

    fn in_request(key: &[u8]) -> Self {
        match key {
            b"messages"
            | b"system"
            | b"input"
            | b"instructions"
            | b"prompt"
            | b"suffix"
            | b"contents"
            | b"content"
            | b"systemInstruction"
            | b"system_instruction"
            | b"message"
            | b"chat_history"
            | b"preamble"
            | b"documents"
            | b"inputs"
            | b"inputText"
            | b"texts"
            | b"query" => Self::Prompt,
            b"tools" | b"functions" | b"toolConfig" | b"response_format" | b"format" | b"responseSchema"
            | b"response_schema" => Self::Json,
            b"images" => Self::Attachment(Kind::Image),
            b"generationConfig"
            | b"generation_config"
            | b"inferenceConfig"
            | b"textGenerationConfig"
            | b"parameters"
            | b"options"
            | b"text" => Self::Request,
            b"max_completion_tokens"
            | b"max_output_tokens"
            | b"max_tokens"
            | b"maxTokens"
            | b"maxOutputTokens"
            | b"max_new_tokens"
            | b"max_gen_len"
            | b"maxTokenCount"
            | b"max_tokens_to_sample"
            | b"num_predict"
            | b"n_predict" => Self::OutputLimit,
            b"n" | b"best_of" | b"candidateCount" | b"candidate_count" | b"num_generations" => {
                Self::AnswerCount
            }
            _ => Self::Ignored,
        }
    }

    fn in_prompt(key: &[u8]) -> Self {
        match key {
            b"content" | b"contents" | b"text" | b"output" | b"parts" | b"message" | b"thinking"
            | b"snippet" | b"reasoning_content" | b"refusal" | b"summary" | b"title" | b"tool_calls"
            | b"function" | b"functionCall" | b"functionResponse" | b"function_call" | b"toolUse"
            | b"toolResult" | b"reasoningContent" | b"reasoningText" | b"prompt" | b"data" => Self::Prompt,
            b"arguments" | b"args" | b"input" | b"response" | b"json" | b"parameters" | b"results" => {
                Self::Json
            }
            b"image_url" | b"image" | b"images" => Self::Attachment(Kind::Image),
            b"input_audio" | b"audio" => Self::Attachment(Kind::Audio),
            b"source" | b"inlineData" | b"inline_data" | b"fileData" | b"file_data" | b"file_id"
            | b"file_url" | b"file" | b"document" | b"video" => Self::Attachment(Kind::File),
            _ => Self::Ignored,
        }
    }
}
