//! From the command line to the exit status.

use std::collections::HashSet;
use std::fmt::{self, Display};
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;
use std::pin::pin;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use super::args::Args;
use super::ask::Asker;
use super::client::http;
use super::demo;
use super::endpoint::{Settings, endpoint};
use super::health::Health;
use super::input;
use super::key::Key;
use super::output::Output;
use super::progress::Progress;
use super::prompt::Id;
use super::resume;
use super::run::Run;
use super::stdio::Stdio;
use super::summary::Ended;
use super::target::Target;

/// How long the reader of the results may take for what is left, once the run is stopped.
const GRACE: Duration = Duration::from_secs(5);

/// How a run of the program ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Every prompt is answered.
    Answered,
    /// Some are not: the program was stopped, or they failed, or a line was invalid.
    Unanswered,
    /// The arguments are invalid. Nothing was sent.
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

/// Does what the command line asks for, until `stop` resolves.
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

/// A batch, after all checks that are possible before anything is sent.
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
                "{} lines of the output are not results; they are left as they are",
                self.strange
            ));
        }
        let target = Arc::new(self.target);
        let encrypted = target.url().scheme() == Some(&http::uri::Scheme::HTTPS);
        let health = Arc::new(Health::default());
        let settings = Settings::of(args);
        let (endpoint, handle) =
            endpoint(http(encrypted)?, target.provider(), &settings, &health).map_err(io::Error::other)?;
        let asker = Asker {
            endpoint,
            target,
            key: self.key,
            deadline: args.deadline,
            health,
            timed_out: settings.timed_out(),
        };

        let items = input::read_ahead(self.input, self.answered)?;
        let (outbox, mut output) = Output::to(self.output)?;
        progress.begin("batch", self.total);
        let mut stop = pin!(stop);
        let run = Run::new((asker, handle), args.concurrency.into(), items, outbox, progress);
        let (mut summary, mut outbox) = run.until(stop.as_mut()).await;
        let finished = if matches!(summary.ended, Ended::Stopped) {
            None
        } else {
            tokio::select! {
                written = output.finish(&mut outbox) => Some(written),
                () = stop => {
                    summary.ended = Ended::Stopped;
                    None
                }
            }
        };
        let written = match finished {
            Some(written) => written,
            None => output.finish_within(GRACE, &mut outbox).await,
        };
        // Only what is in the output counts.
        (summary.answered, summary.failed) = (written.answered, written.failed);
        progress.end(false);
        let (complete, trouble) = match written.result {
            Ok(()) => (Ok(summary.is_complete()), None),
            Err(error) => match error.kind() {
                io::ErrorKind::BrokenPipe => (Ok(false), Some("the reader of the results has gone")),
                io::ErrorKind::TimedOut => {
                    (Ok(false), Some("the reader of the results has stalled; the rest is not written"))
                }
                kind => (Err(io::Error::new(kind, format!("cannot write the results: {error}"))), None),
            },
        };
        if let Some(trouble) = trouble {
            progress.say(trouble);
        }
        progress.say(&summary);
        complete
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
    // A pipe can be read only once.
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
    Key::new(&key).ok_or_else(|| Misuse(format!("the environment variable {name} is not a usable key")))
}

/// Why the arguments are invalid.
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
