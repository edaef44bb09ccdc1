//! The names of JSON members that are looked up.

/// Defines the keys by their spelling in JSON: those of counts, and the others.
macro_rules! keys {
    (
        names { $($key:ident = $name:literal,)+ }
        counts { $($count:ident = $count_name:literal,)+ }
    ) => {
        /// The name of a JSON member.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Key {
            /// No name: the document itself, or an item of a list.
            Item,
            /// A name that is not looked up.
            Other,
            $($key,)+
            $($count,)+
        }

        impl Key {
            /// The key for a name without escapes.
            pub(super) const fn of(name: &[u8]) -> Self {
                match name {
                    $($name => Self::$key,)+
                    $($count_name => Self::$count,)+
                    _ => Self::Other,
                }
            }

            /// Returns whether its value is a token count, or an object of token counts.
            pub(super) const fn is_count(self) -> bool {
                matches!(self, $(Self::$count)|+)
            }
        }
    };
}

keys! {
    names {
        BaseResp = b"base_resp",
        BlockReason = b"blockReason",
        Candidates = b"candidates",
        Choices = b"choices",
        CompletionReason = b"completionReason",
        Content = b"content",
        ContentBlock = b"content_block",
        ContentBlockDelta = b"contentBlockDelta",
        ContentBlockStart = b"contentBlockStart",
        ContentBlockStop = b"contentBlockStop",
        Delta = b"delta",
        Done = b"done",
        Error = b"error",
        EventType = b"event_type",
        FinishReason = b"finish_reason",
        FinishReasonOfGoogle = b"finishReason",
        Finished = b"finished",
        GeneratedText = b"generated_text",
        Generation = b"generation",
        Index = b"index",
        IsFinished = b"is_finished",
        Message = b"message",
        MessageStart = b"messageStart",
        MessageStop = b"messageStop",
        Metadata = b"metadata",
        NativeFinishReason = b"native_finish_reason",
        Object = b"object",
        Output = b"output",
        OutputText = b"outputText",
        Outputs = b"outputs",
        Parts = b"parts",
        PromptFeedback = b"promptFeedback",
        Response = b"response",
        Results = b"results",
        Role = b"role",
        Special = b"special",
        Status = b"status",
        StatusCode = b"status_code",
        StopReason = b"stopReason",
        StopReasonOfModels = b"stop_reason",
        Text = b"text",
        Thinking = b"thinking",
        Thought = b"thought",
        Token = b"token",
        ToolCalls = b"tool_calls",
        Type = b"type",
        // Objects that hold a usage.
        BilledUnits = b"billed_units",
        Details = b"details",
        InvocationMetrics = b"amazon-bedrock-invocationMetrics",
        Meta = b"meta",
        Tokens = b"tokens",
        Usage = b"usage",
        UsageMetadata = b"usageMetadata",
        XGroq = b"x_groq",
    }
    counts {
        CachedContentTokenCount = b"cachedContentTokenCount",
        CachedTokens = b"cached_tokens",
        CacheCreationInputTokens = b"cache_creation_input_tokens",
        CacheReadInputTokens = b"cache_read_input_tokens",
        CacheReadInputTokensOfConverse = b"cacheReadInputTokens",
        CacheWriteInputTokens = b"cacheWriteInputTokens",
        CandidatesTokenCount = b"candidatesTokenCount",
        CompletionTokens = b"completion_tokens",
        CompletionTokensDetails = b"completion_tokens_details",
        EvalCount = b"eval_count",
        GeneratedTokens = b"generated_tokens",
        GenerationTokenCount = b"generation_token_count",
        InputTextTokenCount = b"inputTextTokenCount",
        InputTokenCount = b"inputTokenCount",
        InputTokens = b"input_tokens",
        InputTokensDetails = b"input_tokens_details",
        InputTokensOfConverse = b"inputTokens",
        NumCompletionTokens = b"num_completion_tokens",
        NumPromptTokens = b"num_prompt_tokens",
        OutputTokenCount = b"outputTokenCount",
        OutputTokens = b"output_tokens",
        OutputTokensDetails = b"output_tokens_details",
        OutputTokensOfConverse = b"outputTokens",
        PromptCacheHitTokens = b"prompt_cache_hit_tokens",
        PromptEvalCount = b"prompt_eval_count",
        PromptTokenCount = b"promptTokenCount",
        PromptTokenCountOfLlama = b"prompt_token_count",
        PromptTokens = b"prompt_tokens",
        PromptTokensDetails = b"prompt_tokens_details",
        ReasoningTokens = b"reasoning_tokens",
        ThinkingTokens = b"thinking_tokens",
        ThoughtsTokenCount = b"thoughtsTokenCount",
        ToolUsePromptTokenCount = b"toolUsePromptTokenCount",
        TotalTokenCount = b"totalTokenCount",
        TotalTokens = b"total_tokens",
        TotalTokensOfConverse = b"totalTokens",
    }
}

impl Key {
    /// Returns whether unknown members of its value matter too.
    pub(super) const fn keeps_others(self) -> bool {
        matches!(self, Self::Delta | Self::Error | Self::Message)
    }
}
