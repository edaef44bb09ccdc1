//! From the command line to the exit status.

use std::collections::HashSet;
use std::fmt::{self, Display};
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use super::api::{Key, Target};
use super::args::Args;
use super::ask::Asker;
use super::client::http;
use super::closing::Closing;
use super::demo;
use super::endpoint::{Settings, endpoint};
use super::input;
use super::output::Output;
use super::progress::Progress;
use super::prompt::Id;
use super::resume;
use super::run::Run;
use super::signs::Signs;
use super::stdio::Stdio;

/// How long a completion may take, unless told otherwise.
const TIMEOUT: Duration = Duration::from_secs(120);

/// How a run of the program ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Every prompt has its answer.
    Answered,
    /// Some have not: the program was stopped, or they failed, or a line was no prompt.
    Unanswered,
    /// The arguments make no sense, and nothing was sent.
    Misused,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(match exit {
            Exit::Answered => 0,
            Exit::Unanswered => 1,
            Exit::Misused => 2,
        })
    }
}

/// Does what the command line asks for, until `stop`.
pub async fn run(args: Args, stdio: Stdio, stop: impl Future<Output = ()>) -> Exit {
    let Stdio { input, mut output, errors, terminal } = stdio;
    let progress = Progress::new(errors, terminal);
    let Some(base_url) = &args.base_url else {
        return tokio::select! {
            complete = demo::run(&args, &mut output, &progress) => told(&progress, complete),
            () = stop => Exit::Unanswered,
        };
    };
    let job = match Job::prepare(&args, base_url, (input, output)) {
        Ok(job) => job,
        Err(misuse) => {
            progress.say(format_args!("batch: {misuse}"));
            return Exit::Misused;
        }
    };
    told(&progress, job.run(&args, &progress, stop).await)
}

fn told(progress: &Progress, complete: io::Result<bool>) -> Exit {
    match complete {
        Ok(true) => Exit::Answered,
        Ok(false) => Exit::Unanswered,
        Err(error) => {
            progress.say(format_args!("batch: {error}"));
            Exit::Unanswered
        }
    }
}

/// A batch of which everything that can be checked beforehand has been.
struct Job {
    target: Target,
    key: Option<Key>,
    input: Box<dyn Read + Send>,
    total: Option<u64>,
    output: Box<dyn Write + Send>,
    answered: HashSet<Id>,
    strange: u64,
}

type Ends = (Box<dyn Read + Send>, Box<dyn Write + Send>);

impl Job {
    fn prepare(args: &Args, base_url: &str, (stdin, stdout): Ends) -> Result<Self, Misuse> {
        let model = args.model.clone().unwrap_or_default();
        let target = Target::new(args.api, base_url, model).map_err(Misuse::new)?;
        let mut target = target.stream(args.stream).max_tokens(args.max_tokens);
        let key = args.api_key_env.as_deref().map(key).transpose()?;
        if let Some(key) = &key {
            target = target.key(key);
        }
        let path = args.input.as_deref().unwrap_or(Path::new("-"));
        let (input, total) = if is_standard(path) {
            (stdin, None)
        } else {
            open(path)?
        };
        if is_standard(&args.output) {
            let answered = HashSet::new();
            return Ok(Self { target, key, input, total, output: stdout, answered, strange: 0 });
        }
        if same(path, &args.output) {
            return Err(Misuse::new("the output is the input"));
        }
        let resumed = resume::open(&args.output).map_err(|error| Misuse::at(&args.output, &error))?;
        let resume::Resumed { file, answered, strange } = resumed;
        Ok(Self { target, key, input, total, output: Box::new(file), answered, strange })
    }

    async fn run(self, args: &Args, progress: &Progress, stop: impl Future<Output = ()>) -> io::Result<bool> {
        if self.strange > 0 {
            progress.say(format_args!(
                "lines of the output that are no results, and are left alone: {}",
                self.strange
            ));
        }
        let target = Arc::new(self.target);
        let encrypted = target.url().scheme() == Some(&http::uri::Scheme::HTTPS);
        let signs = Arc::new(Signs::default());
        let settings = Settings::of(args, args.timeout.unwrap_or(TIMEOUT));
        let (endpoint, handle) =
            endpoint(http(encrypted)?, target.provider(), &settings, &signs).map_err(io::Error::other)?;
        let asker = Asker {
            endpoint,
            target,
            key: self.key,
            deadline: args.deadline,
            signs: Arc::clone(&signs),
        };

        let items = input::read_ahead(self.input, self.answered)?;
        let output = Output::to(self.output)?;
        progress.begin("batch", self.total);
        let run = Run::new((asker, handle), args.concurrency.into(), items, output.records.clone(), progress);
        let summary = run.until(stop).await;
        let written = output.finish().await;
        progress.end(false);
        // Whoever closes a pipe has read enough.
        let read_enough = written.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::BrokenPipe);
        if read_enough {
            progress.say("nobody reads the results any more");
        }
        progress.say(Closing::of(&summary, &signs));
        match written {
            Err(error) if !read_enough => {
                Err(io::Error::new(error.kind(), format!("the results can not be written: {error}")))
            }
            written => Ok(written.is_ok() && summary.is_complete()),
        }
    }
}

fn is_standard(path: &Path) -> bool {
    path == Path::new("-")
}

fn open(path: &Path) -> Result<(Box<dyn Read + Send>, Option<u64>), Misuse> {
    let at = |error| Misuse::at(path, &error);
    let file = File::open(path).map_err(at)?;
    let metadata = file.metadata().map_err(at)?;
    if metadata.is_dir() {
        return Err(Misuse::at(path, &io::ErrorKind::IsADirectory.into()));
    }
    // What is no file can be read only once.
    let count = || File::open(path).and_then(input::count);
    let total = if metadata.is_file() {
        Some(count().map_err(at)?)
    } else {
        None
    };
    Ok((Box::new(file), total))
}

fn same(input: &Path, output: &Path) -> bool {
    matches!((input.canonicalize(), output.canonicalize()), (Ok(input), Ok(output)) if input == output)
}

fn key(name: &str) -> Result<Key, Misuse> {
    let Ok(key) = std::env::var(name) else {
        return Err(Misuse(format!("the environment variable {name} is not set")));
    };
    Key::new(&key).ok_or_else(|| Misuse(format!("the environment variable {name} holds no usable key")))
}

/// Why nothing was even tried.
#[derive(Debug)]
struct Misuse(String);

impl Misuse {
    fn new(why: impl Display) -> Self {
        Self(why.to_string())
    }

    fn at(path: &Path, error: &io::Error) -> Self {
        Self(format!("{}: {error}", path.display()))
    }
}

impl Display for Misuse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
