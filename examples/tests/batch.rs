//! The batch as users run it, against a mock provider on a socket.
#![allow(clippy::unwrap_used, missing_docs, reason = "a test")]

use std::collections::BTreeMap;
use std::future::pending;
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aplomb_examples::batch::{Args, Exit, Stdio, run};
use aplomb_mock::{Builder, Fault, Latency, Mock, Plan, Server, answer};
use clap::Parser;
use serde_json::{Value, json};

/// A writer whose content can be read.
#[derive(Clone, Default)]
struct Page(Arc<Mutex<Vec<u8>>>);

impl Write for Page {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Page {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }

    /// The results, by id.
    fn results(&self) -> BTreeMap<u64, Value> {
        results(&self.text())
    }
}

fn results(text: &str) -> BTreeMap<u64, Value> {
    let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    lines.map(|result| (result["id"].as_u64().unwrap(), result)).collect()
}

/// The result of a run.
struct Left {
    exit: Exit,
    output: Page,
    errors: Page,
}

async fn batch(arguments: &str, input: String, stop: impl Future<Output = ()>) -> Left {
    let args = Args::try_parse_from(format!("batch {arguments}").split_whitespace()).unwrap();
    let (output, errors) = (Page::default(), Page::default());
    let stdio = Stdio::new(io::Cursor::new(input), output.clone(), errors.clone());
    let exit = run(args, stdio, stop).await;
    Left { exit, output, errors }
}

fn text(n: u64) -> String {
    format!("say something about {n}")
}

fn prompts(count: u64) -> String {
    let line = |n| json!({"id": n, "prompt": text(n)}).to_string() + "\n";
    (1..=count).map(line).collect()
}

fn file(name: &str) -> PathBuf {
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    // There may be one of an earlier run.
    let _ = std::fs::remove_file(&path);
    path
}

fn openai(server: &Server) -> String {
    format!("--base-url {} --model m --input -", server.openai_base_url())
}

fn anthropic(server: &Server) -> String {
    format!("--api anthropic --base-url {}/ --model m --input -", server.base_url())
}

fn faulty(seed: u64) -> Builder {
    let faults = [
        Fault::Unavailable,
        Fault::Reset,
        Fault::Truncate,
        Fault::Unfinished,
        Fault::LateStreamError,
    ];
    let plan = faults.into_iter().fold(Plan::seeded(seed), |plan, fault| plan.rate(fault, 0.04));
    Mock::builder()
        .plan(plan.rate(Fault::Hang, 0.03))
        .requests_per_minute(1_200)
        .request_burst(10)
        .latency(Latency::constant(Duration::from_millis(5)))
}

async fn answers_all(server: &Server, arguments: String) {
    let left = batch(&format!("{arguments} --timeout 0.5"), prompts(30), pending()).await;
    assert_eq!(left.exit, Exit::Answered, "{}", left.errors.text());
    let results = left.output.results();
    assert_eq!(results.len(), 30);
    for (n, result) in results {
        assert_eq!((&result["ok"], &result["error"]), (&json!(true), &Value::Null));
        assert_eq!(result["text"], answer(&text(n), 32));
        assert_eq!(result["attempts"], server.prompt(&text(n)).seen, "{result}");
        assert!(result["started_s"].as_f64().unwrap() <= result["ended_s"].as_f64().unwrap());
    }
    let stats = server.stats();
    assert!(stats.retries > 0);
    assert_eq!(stats.early_retries, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn all_are_answered_in_openais_shape() {
    let server = faulty(1).start().await.unwrap();
    answers_all(&server, openai(&server)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn all_are_answered_in_openais_streams() {
    let server = faulty(2).start().await.unwrap();
    answers_all(&server, openai(&server) + " --stream --rpm 1200 --burst 10").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn all_are_answered_in_anthropics_shape() {
    let server = faulty(3).start().await.unwrap();
    answers_all(&server, anthropic(&server)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn all_are_answered_in_anthropics_streams() {
    let server = faulty(4).start().await.unwrap();
    answers_all(&server, anthropic(&server) + " --stream --rpm 1200 --burst 10 --max-tokens 64").await;
}

#[tokio::test]
async fn an_exhausted_account_ends_the_batch_at_once() {
    for arguments in [openai, anthropic] {
        let server = Mock::builder().insufficient_quota_after(10).start().await.unwrap();
        let left = batch(&(arguments(&server) + " --concurrency 4"), prompts(500), pending()).await;
        assert_eq!(left.exit, Exit::Unanswered);
        let results = left.output.results();
        assert_eq!(results.len(), 500);
        assert_eq!(results.values().filter(|result| result["ok"] == true).count(), 10);
        let last = results[&500]["error"].as_str().unwrap();
        assert!(last.contains("429") && last.contains("quota"), "{last}");
        // Ten were answered, and four were under way when the first was refused.
        assert!(server.stats().seen <= 14, "{}", server.stats().seen);
        assert!(left.errors.text().contains("given up: 429"), "{}", left.errors.text());
    }
}

#[tokio::test]
async fn a_refused_key_ends_the_batch_and_is_never_shown() {
    // A variable that is always set.
    let key = std::env::var("CARGO_MANIFEST_DIR").unwrap();
    let server = Mock::builder().api_key("another").start().await.unwrap();
    let arguments = openai(&server) + " --api-key-env CARGO_MANIFEST_DIR --concurrency 4";
    let left = batch(&arguments, prompts(100), pending()).await;
    assert_eq!(left.exit, Exit::Unanswered);
    let results = left.output.results();
    assert!(results.len() == 100 && results.values().all(|result| result["ok"] == false));
    assert!(server.stats().seen <= 7, "{}", server.stats().seen);
    assert!(!(left.output.text() + &left.errors.text()).contains(&key));
    assert!(
        results[&100]["error"].as_str().unwrap().contains("Incorrect API key"),
        "{}",
        results[&100]
    );

    let server = Mock::builder().api_key(key).start().await.unwrap();
    let arguments = anthropic(&server) + " --api-key-env CARGO_MANIFEST_DIR";
    assert_eq!(batch(&arguments, prompts(3), pending()).await.exit, Exit::Answered);
}

#[tokio::test]
async fn a_second_run_asks_only_for_what_is_missing() {
    let server = Mock::builder().start().await.unwrap();
    let path = file("resumed.jsonl");
    let earlier = concat!(
        r#"{"id":1,"ok":true,"text":"a","error":null,"attempts":1,"started_s":0,"ended_s":1}"#,
        "\n",
        r#"{"id":2,"ok":false,"text":null,"error":"x","attempts":1,"started_s":0,"ended_s":1}"#,
        "\n",
        r#"{"id":3,"ok":true,"te"#,
    );
    std::fs::write(&path, earlier).unwrap();
    let arguments = format!("{} --output {}", openai(&server), path.display());
    let left = batch(&arguments, prompts(5), pending()).await;
    assert_eq!(left.exit, Exit::Answered, "{}", left.errors.text());
    assert_eq!((server.stats().seen, server.prompt(&text(1)).seen), (4, 0));
    let written = std::fs::read_to_string(&path).unwrap();
    assert_eq!(written.lines().count(), 6);
    assert!(results(&written).values().all(|result| result["ok"] == true));

    let left = batch(&arguments, prompts(5), pending()).await;
    assert_eq!((left.exit, server.stats().seen), (Exit::Answered, 4));
    assert_eq!(std::fs::read_to_string(&path).unwrap(), written);
    assert_eq!(left.output.text(), "");
}

#[tokio::test]
async fn bad_lines_are_named_and_ids_keep_their_type() {
    let server = Mock::builder().start().await.unwrap();
    let input = "{\"id\":\"a\",\"prompt\":\"one\"}\r\nnonsense\n\n{\"id\":7,\"prompt\":\"two\",\"max_tokens\":4}\n\
                 {\"id\":7,\"prompt\":\"again\"}\n{\"id\":8,\"prompt\":\"x\",\"max_tokens\":12345678901234567890123456789012345}";
    let left = batch(&openai(&server), input.to_owned(), pending()).await;
    assert_eq!(left.exit, Exit::Unanswered);
    let mut lines: Vec<Value> =
        left.output.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    lines.sort_by_key(|line| line["id"].to_string());
    let answered: Vec<_> = lines.iter().map(|line| (line["id"].clone(), line["text"].clone())).collect();
    assert_eq!(
        answered,
        [
            (json!("a"), json!(answer("one", 32))),
            (json!(7), json!(answer("two", 4)))
        ]
    );
    let errors = left.errors.text();
    assert!(
        [
            "line 2 is not JSON",
            "line 5 repeats the id 7",
            "line 6 is not a prompt"
        ]
        .iter()
        .all(|line| errors.contains(line)),
        "{errors}"
    );
}

#[tokio::test]
async fn invalid_arguments_are_refused_before_anything_is_sent() {
    let server = Mock::builder().start().await.unwrap();
    let path = file("both.jsonl");
    std::fs::write(&path, prompts(1)).unwrap();
    let both = path.display();
    for (arguments, why) in [
        (
            openai(&server) + " --api-key-env APLOMB_NO_SUCH_VARIABLE",
            "APLOMB_NO_SUCH_VARIABLE is not set",
        ),
        ("--base-url localhost:1/v1 --model m --input -".to_owned(), "http://"),
        (
            "--base-url http://127.0.0.1:99999/v1 --model m --input -".to_owned(),
            "the port must be a number from 1 to 65535, not 99999",
        ),
        (openai(&server) + " --output /no/such/directory/results", "/no/such/directory/results"),
        (
            format!("--base-url {} --model m --input {both} --output {both}", server.base_url()),
            "is the input",
        ),
        (
            format!("--base-url {} --model m --input /no/such/file", server.base_url()),
            "/no/such/file",
        ),
    ] {
        let left = batch(&arguments, prompts(1), pending()).await;
        assert_eq!(left.exit, Exit::Misused, "{arguments}");
        assert!(left.errors.text().contains(why), "{}", left.errors.text());
    }
    assert_eq!(server.stats().seen, 0);
    assert_eq!(std::fs::read_to_string(&path).unwrap(), prompts(1));
}

#[tokio::test]
async fn a_batch_that_is_stopped_keeps_what_is_done() {
    let plan = Plan::seeded(1).rate(Fault::Hang, 0.5);
    let server = Mock::builder().plan(plan).start().await.unwrap();
    let until_all_hang = async {
        while server.stats().in_flight < 4 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let left = batch(&(openai(&server) + " --concurrency 4"), prompts(100), until_all_hang).await;
    assert_eq!(left.exit, Exit::Unanswered);
    let results = left.output.results();
    assert_eq!(results.len() as u64, server.stats().answered);
    assert!(results.values().all(|result| result["ok"] == true));
    assert!(left.errors.text().contains("stopped"), "{}", left.errors.text());
}

#[tokio::test]
async fn a_deadline_and_a_limit_of_retries_end_a_prompt() {
    let server = Mock::builder()
        .plan(Plan::seeded(1).rate(Fault::Hang, 1.0).max_consecutive(99))
        .start()
        .await
        .unwrap();
    let left = batch(&(openai(&server) + " --deadline 0.2"), prompts(2), pending()).await;
    assert_eq!(left.exit, Exit::Unanswered);
    assert!(left.output.results()[&1]["error"].as_str().unwrap().contains("deadline"));

    let server = Mock::builder()
        .plan(Plan::default().attempt(1, Fault::InternalError))
        .start()
        .await
        .unwrap();
    let left = batch(&(openai(&server) + " --max-retries 0"), prompts(2), pending()).await;
    assert_eq!((left.exit, server.stats().seen), (Exit::Unanswered, 2));
    assert!(left.output.results()[&1]["error"].as_str().unwrap().starts_with("500"));
}

#[tokio::test]
async fn a_pipe_that_closes_ends_the_batch() {
    struct Closed;
    impl Write for Closed {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::BrokenPipe.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let server = Mock::builder().start().await.unwrap();
    let args = Args::try_parse_from(format!("batch {}", openai(&server)).split_whitespace()).unwrap();
    let errors = Page::default();
    let stdio = Stdio::new(io::Cursor::new(prompts(10_000)), Closed, errors.clone());
    assert_eq!(run(args, stdio, pending()).await, Exit::Unanswered);
    assert!(server.stats().seen < 1_000, "{}", server.stats().seen);
    assert!(errors.text().starts_with("the reader of the results has gone"), "{}", errors.text());
}
