//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, ValueEnum};

/// Answers a file of prompts, through aplomb.
///
/// Without arguments: a demonstration on this machine, against a mock provider that limits, fails and hangs.
/// With --base-url, --model and --input: a batch against any provider or compatible server.
///
/// The input is one JSON object per line, {"id": …, "prompt": …, "max_tokens": …}. "max_tokens" is optional, other
/// fields are ignored. The output is one line per prompt, in the order in which they end:
/// {"id", "ok", "text", "error", "attempts", "started_s", "ended_s"}. Run again with the same --output, it asks only
/// the prompts that have no line with "ok": true.
///
/// Without --max-retries and --deadline, throttled and failed requests are retried while there is hope. The batch gives
/// up after ten minutes in which every attempt failed, or after one minute if the server has never responded. It ends
/// at once if the account is exhausted, the API key or the server's certificate refused. A prompt whose answer was
/// cut off three times by --timeout or --answer-timeout fails.
///
/// Ctrl-C stops it: answers that have arrived are written, unfinished prompts are asked again by the next run.
/// Exit status: 0 if every prompt is answered, 2 if the arguments are invalid, 1 otherwise.
#[derive(Clone, Debug, Parser)]
#[command(name = "batch", verbatim_doc_comment)]
pub struct Args {
    /// The provider's base URL, as for its official SDK: with /v1 for OpenAI, without for Anthropic
    #[arg(long, value_name = "URL", requires_all = ["model", "input"])]
    pub(crate) base_url: Option<String>,
    /// The API that the server speaks
    #[arg(long, value_enum, default_value = "openai", requires = "base_url")]
    pub(crate) api: ApiName,
    /// The model to ask
    #[arg(long, requires = "base_url")]
    pub(crate) model: Option<String>,
    /// The environment variable that holds the API key [default: no key is sent]
    #[arg(long, value_name = "NAME", requires = "base_url")]
    pub(crate) api_key_env: Option<String>,
    /// Ask for streams, and join their text
    #[arg(long, requires = "base_url")]
    pub(crate) stream: bool,

    /// The file of prompts, or - for standard input
    #[arg(long, value_name = "FILE", requires = "base_url")]
    pub(crate) input: Option<PathBuf>,
    /// The file for the results, or - for standard output
    #[arg(long, value_name = "FILE", default_value = "-", requires = "base_url")]
    pub(crate) output: PathBuf,
    /// max_tokens for prompts without their own [default: none; 1024 for Anthropic, which requires it]
    #[arg(long, value_name = "N", requires = "base_url", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) max_tokens: Option<u64>,

    /// How many prompts to work on at a time
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) concurrency: u16,
    /// How long an attempt may be silent: before its answer begins, and between its parts [default: 120; demonstration: 2]
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub(crate) timeout: Option<Duration>,
    /// How long an attempt may take until its answer is complete [default: an hour]
    #[arg(long, value_name = "SECONDS", requires = "base_url", value_parser = seconds)]
    pub(crate) answer_timeout: Option<Duration>,
    /// How long a prompt may take, including all waits and retries [default: no limit]
    #[arg(long, value_name = "SECONDS", requires = "base_url", value_parser = seconds)]
    pub(crate) deadline: Option<Duration>,
    /// How many times a prompt may be sent again [default: no limit]
    #[arg(long, value_name = "N", requires = "base_url")]
    pub(crate) max_retries: Option<u32>,

    /// Requests per minute that the provider allows, if you know
    #[arg(long, value_name = "N", requires = "base_url", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) rpm: Option<u32>,
    /// Requests that it allows at once [default: one second's worth]
    #[arg(long, value_name = "N", requires = "rpm", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) burst: Option<u32>,
    /// Tokens per minute that the provider allows, input and output together, if you know
    #[arg(long, value_name = "N", requires = "base_url", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) tpm: Option<u32>,
    /// Tokens that it allows at once [default: a minute's worth]
    #[arg(long, value_name = "N", requires = "tpm", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) token_burst: Option<u32>,

    /// The seed of the demonstration's faults and latencies
    #[arg(long, default_value_t = crate::batch::demo::SEED, conflicts_with = "base_url")]
    pub(crate) seed: u64,
}

/// The API that a server speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ApiName {
    /// OpenAI's chat completions, and the many servers compatible with them.
    #[value(name = "openai")]
    OpenAi,
    /// Anthropic's messages.
    Anthropic,
}

/// Parses a positive number of seconds, with or without decimals.
fn seconds(text: &str) -> Result<Duration, String> {
    let number: f64 = text.parse().map_err(|_| "not a number of seconds".to_owned())?;
    match Duration::try_from_secs_f64(number) {
        Ok(time) if !time.is_zero() => Ok(time),
        Ok(_) => Err("must be more than 0".to_owned()),
        Err(_) => Err("out of range".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Args, clap::Error> {
        Args::try_parse_from(line.split_whitespace())
    }

    #[test]
    fn the_arguments_are_well_formed() {
        <Args as clap::CommandFactory>::command().debug_assert();
    }

    #[test]
    fn no_argument_is_a_demonstration_and_a_batch_needs_three() {
        assert!(parse("batch").unwrap().base_url.is_none());
        assert!(parse("batch --base-url http://h/v1 --model m --input -").is_ok());
        for incomplete in [
            "batch --base-url http://h/v1",
            "batch --base-url http://h/v1 --model m",
            "batch --input prompts.jsonl",
            "batch --burst 3",
            "batch --base-url http://h/v1 --model m --input - --burst 3",
            "batch --base-url http://h/v1 --model m --input - --seed 3",
        ] {
            assert!(parse(incomplete).is_err(), "{incomplete}");
        }
    }

    #[test]
    fn times_are_positive_and_may_have_decimals() {
        assert_eq!(seconds("0.25"), Ok(Duration::from_millis(250)));
        for invalid in ["0", "-1", "inf", "NaN", "1m", "", "1e300", "1e-300"] {
            assert!(seconds(invalid).is_err(), "{invalid}");
        }
        assert!(parse("batch --timeout 1.5 --concurrency 8").is_ok());
        assert!(parse("batch --concurrency 0").is_err());
        assert!(parse("batch --base-url http://h --model m --input - --rpm 0").is_err());
    }
}
