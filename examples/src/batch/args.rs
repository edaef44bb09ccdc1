//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, ValueEnum};

/// Answers a file of prompts, through aplomb.
///
/// Without any argument: a demonstration on this machine, against a mock provider that limits, fails and hangs.
/// With --base-url, --model and --input: a batch against any provider, or any server that speaks like one.
///
/// The input is one JSON object a line, {"id": …, "prompt": …, "max_tokens": …}; max_tokens may be left out, other
/// fields are ignored. The output is one line a prompt, as it ends:
/// {"id", "ok", "text", "error", "attempts", "started_s", "ended_s"}. A run started again with the same --output asks only
/// for what has no line with "ok": true.
///
/// Without --max-retries and --deadline, throttles and passing failures are retried for as long as the provider gives
/// reason to hope: the batch gives up after ten minutes of nothing but failures, or after one minute if no answer of
/// any kind has ever come. An exhausted account or a refused key ends it at once.
///
/// Ctrl-C stops it: what is done is written, what is under way is dropped and asked for again by the next run.
/// Exit status: 0 if every prompt has its answer, 2 if the arguments make no sense, 1 otherwise.
#[derive(Clone, Debug, Parser)]
#[command(name = "batch", verbatim_doc_comment)]
pub struct Args {
    /// The provider's base URL as its official SDK takes it: with /v1 for OpenAI's shape, without for Anthropic's
    #[arg(long, value_name = "URL", requires_all = ["model", "input"])]
    pub(crate) base_url: Option<String>,
    /// The shape of requests and answers
    #[arg(long, value_enum, default_value = "openai", requires = "base_url")]
    pub(crate) api: ApiName,
    /// The model to ask
    #[arg(long, requires = "base_url")]
    pub(crate) model: Option<String>,
    /// The environment variable that holds the API key [default: no key is sent]
    #[arg(long, value_name = "NAME", requires = "base_url")]
    pub(crate) api_key_env: Option<String>,
    /// Ask for streams of events, and join their text
    #[arg(long, requires = "base_url")]
    pub(crate) stream: bool,

    /// The prompts, or - for standard input
    #[arg(long, value_name = "FILE", requires = "base_url")]
    pub(crate) input: Option<PathBuf>,
    /// Where the results go, or - for standard output
    #[arg(long, value_name = "FILE", default_value = "-", requires = "base_url")]
    pub(crate) output: PathBuf,
    /// The max_tokens of prompts that name none [default: none in OpenAI's shape, 1024 in Anthropic's, which needs one]
    #[arg(long, value_name = "N", requires = "base_url", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) max_tokens: Option<u64>,

    /// Prompts under way at a time
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) concurrency: u16,
    /// How long an attempt may take, to the last byte of its answer [default: 120, in the demonstration 2]
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub(crate) timeout: Option<Duration>,
    /// How long a prompt may take, with all its waits and retries [default: no limit]
    #[arg(long, value_name = "SECONDS", requires = "base_url", value_parser = seconds)]
    pub(crate) deadline: Option<Duration>,
    /// How often a prompt is sent again at most [default: no limit]
    #[arg(long, value_name = "N", requires = "base_url")]
    pub(crate) max_retries: Option<u32>,

    /// Requests per minute that the provider allows, where you know it
    #[arg(long, value_name = "N", requires = "base_url", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) rpm: Option<u32>,
    /// Requests that may come at once [default: one second's worth]
    #[arg(long, value_name = "N", requires = "rpm", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) burst: Option<u32>,
    /// Tokens per minute that the provider allows, input and output together
    #[arg(long, value_name = "N", requires = "base_url", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) tpm: Option<u32>,
    /// Tokens that may come at once [default: a minute's worth]
    #[arg(long, value_name = "N", requires = "tpm", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) token_burst: Option<u32>,

    /// The seed of the demonstration's faults and latencies
    #[arg(long, default_value_t = crate::batch::demo::SEED, conflicts_with = "base_url")]
    pub(crate) seed: u64,
}

/// Whose shape requests and answers have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ApiName {
    /// Chat completions, and the many servers that imitate them.
    #[value(name = "openai")]
    OpenAi,
    /// Messages.
    Anthropic,
}

/// A time above zero, in seconds with or without decimals.
fn seconds(text: &str) -> Result<Duration, String> {
    let number: f64 = text.parse().map_err(|_| "not a number of seconds".to_owned())?;
    match Duration::try_from_secs_f64(number) {
        Ok(time) if !time.is_zero() => Ok(time),
        Ok(_) => Err("must be more than 0".to_owned()),
        Err(_) => Err("not a possible time".to_owned()),
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
    fn times_have_decimals_and_make_sense() {
        assert_eq!(seconds("0.25"), Ok(Duration::from_millis(250)));
        for nonsense in ["0", "-1", "inf", "NaN", "1m", "", "1e300", "1e-300"] {
            assert!(seconds(nonsense).is_err(), "{nonsense}");
        }
        assert!(parse("batch --timeout 1.5 --concurrency 8").is_ok());
        assert!(parse("batch --concurrency 0").is_err());
        assert!(parse("batch --base-url http://h --model m --input - --rpm 0").is_err());
    }
}
