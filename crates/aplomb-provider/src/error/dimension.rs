//! The limit that a refusal is about: requests, tokens, input or output.

use aplomb_core::Dimension;
use serde_json::{Map, Value};

use super::google;
use crate::limits::table::Row;
use crate::{Head, limits};

const REQUESTS: Dimension = Dimension::REQUESTS;
const TOKENS: Dimension = Dimension::TOKENS;
const INPUT: Dimension = Dimension::INPUT_TOKENS;
const OUTPUT: Dimension = Dimension::OUTPUT_TOKENS;
const IMAGES: Dimension = Dimension::named("images");

/// The values of `type` or `code` that name a dimension.
const CODES: &[(&str, Dimension)] = &[
    ("requests", REQUESTS),               // OpenAI, Groq: `type`
    ("tokens", TOKENS),                   // OpenAI, Groq: `type`
    ("request_quota_exceeded", REQUESTS), // Cerebras: `code`
    ("token_quota_exceeded", TOKENS),     // Cerebras: `code`
    ("too_many_tokens_error", TOKENS),    // Cerebras: `type`
];

/// Headers with a value that names a dimension.
const HEADERS: &[(&str, &str, Dimension)] = &[
    ("rate_limit_type", "requests", REQUESTS),              // LiteLLM
    ("rate_limit_type", "tokens", TOKENS),                  // LiteLLM
    ("policy-id", "DeploymentRatelimit-Token", TOKENS),     // Azure
    ("policy-id", "DeploymentRatelimit-Request", REQUESTS), // Azure
];

/// Parts of Google's quota metrics and identifiers, without underscores. The first match counts.
const METRICS: &[(&str, Dimension)] = &[
    ("inputtoken", INPUT),   // generate_content_free_tier_input_token_count
    ("outputtoken", OUTPUT), // GenerateContentOutputTokensPerModelPerMinute
    ("token", TOKENS),
    ("image", IMAGES),
    ("request", REQUESTS), // generate_content_free_tier_requests, GenerateRequestsPerDayPerProject
];

/// Words of messages, in lower case.
const WORDS: &[(&str, Dimension)] = &[
    ("input tokens per", INPUT), // Anthropic: "rate limit of 40,000 input tokens per minute"
    ("(itpm)", INPUT),           // Groq
    ("output tokens per", OUTPUT), // Anthropic
    ("(otpm)", OUTPUT),          // Groq
    ("tokens per ", TOKENS),     // OpenAI, Groq, Cerebras, Together: "on tokens per min (TPM)"
    ("(tpm)", TOKENS),           // OpenAI, Groq
    ("(tpd)", TOKENS),           // OpenAI, Groq
    ("token rate limit", TOKENS), // Azure: "have exceeded token rate limit"
    ("number of request tokens", TOKENS), // Anthropic, older
    ("too many tokens", TOKENS), // Bedrock
    ("organization max tpm", TOKENS), // Moonshot
    ("limit type: tokens", TOKENS), // LiteLLM
    ("requests per ", REQUESTS), // OpenAI, Groq, Anthropic: "on requests per min (RPM)"
    ("(rpm)", REQUESTS),         // OpenAI, Groq
    ("(rpd)", REQUESTS),         // OpenAI, Groq
    ("call rate limit", REQUESTS), // Azure: "have exceeded call rate limit"
    ("requests rate limit", REQUESTS), // Mistral
    ("api calls / ", REQUESTS),  // Cohere: "limited to 40 API calls / minute"
    ("queries per ", REQUESTS),  // Together
    ("organization max rpm", REQUESTS), // Moonshot
    ("limit type: requests", REQUESTS), // LiteLLM
    ("free-models-per-", REQUESTS), // OpenRouter
    ("images per ", IMAGES),     // OpenAI
    ("(ipm)", IMAGES),           // OpenAI
];

/// The dimension in the fields of an error.
pub(super) fn in_fields(error: &Map<String, Value>) -> Option<Dimension> {
    let fields = ["type", "code"].iter().filter_map(|name| error.get(*name)?.as_str());
    let by_code = |code: &str| {
        let (_, dimension) = CODES.iter().find(|(known, _)| code.eq_ignore_ascii_case(known))?;
        Some(*dimension)
    };
    let by_quota = || only(google::quotas(error).filter_map(of_quota));
    fields.into_iter().find_map(by_code).or_else(by_quota)
}

fn of_quota(name: &str) -> Option<Dimension> {
    let name = name.rsplit('/').next()?.replace('_', "").to_ascii_lowercase();
    let (_, dimension) = METRICS.iter().find(|(part, _)| name.contains(part))?;
    Some(*dimension)
}

/// The dimension in a message in lower case, if it names only one.
pub(super) fn in_message(text: &str) -> Option<Dimension> {
    let named = || WORDS.iter().filter(|(words, _)| text.contains(words)).map(|&(_, dimension)| dimension);
    // "input tokens per minute" contains "tokens per minute".
    let is_specific = named().any(|dimension| dimension == INPUT || dimension == OUTPUT);
    only(named().filter(|&dimension| !(is_specific && dimension == TOKENS)))
}

/// The dimension that headers name, or the only one of which nothing remains.
pub(super) fn in_headers(head: &Head<'_>, rows: &[&[Row]]) -> Option<Dimension> {
    let named = HEADERS.iter().find(|(name, value, _)| head.header(name) == Some(*value));
    named.map(|&(.., dimension)| dimension).or_else(|| {
        let readings = limits::read(head, rows);
        let exhausted = readings.iter().filter(|reading| reading.remaining() == Some(0));
        let dimensions = exhausted.map(aplomb_core::Reading::dimension);
        // Priority tiers fall back to the standard ones instead of refusing.
        only(dimensions.filter(|dimension| !dimension.name().starts_with("priority ")))
    })
}

/// The dimension that all of them are.
fn only(mut dimensions: impl Iterator<Item = Dimension>) -> Option<Dimension> {
    let first = dimensions.next()?;
    dimensions.all(|dimension| dimension == first).then_some(first)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_several_dimensions_name_none() {
        for (text, dimension) in [
            ("rate limit of 40,000 input tokens per minute", Some(INPUT)),
            ("on tokens per min (tpm): limit 30000", Some(TOKENS)),
            ("60 requests per minute or 1000 tokens per minute", None),
            ("input tokens per minute and output tokens per minute", None),
            ("too many requests", None),
            ("", None),
        ] {
            assert_eq!(in_message(text), dimension, "{text}");
        }
    }
}
