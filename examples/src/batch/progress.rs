//! The progress of a run, on standard error: a bar on a terminal, a plain line every few seconds elsewhere.

use std::fmt::Display;
use std::io::Write;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use tokio::time::Instant;

/// How often a plain line is written.
const PLAIN_EVERY: Duration = Duration::from_secs(5);

/// Reports the progress of a run. Messages appear above the bar.
pub(crate) struct Progress {
    terminal: bool,
    bar: Mutex<Option<ProgressBar>>,
    plain: Mutex<Plain>,
}

struct Plain {
    label: &'static str,
    errors: Box<dyn Write + Send>,
    total: Option<u64>,
    answered: u64,
    failed: u64,
    began: Instant,
    told: Instant,
    /// How many had been answered by then.
    answered_then: u64,
}

impl Progress {
    /// Writes to `errors`, and draws a bar if that is a terminal.
    pub(crate) fn new(errors: Box<dyn Write + Send>, terminal: bool) -> Self {
        let began = Instant::now();
        let plain = Plain {
            label: "",
            errors,
            total: None,
            answered: 0,
            failed: 0,
            began,
            told: began,
            answered_then: 0,
        };
        Self { terminal, bar: Mutex::new(None), plain: Mutex::new(plain) }
    }

    /// Starts again at zero, with this many prompts if their number is known.
    pub(crate) fn begin(&self, label: &'static str, total: Option<u64>) {
        let now = Instant::now();
        self.with(|plain| {
            (plain.label, plain.total, plain.began, plain.told) = (label, total, now, now);
            (plain.answered, plain.failed, plain.answered_then) = (0, 0, 0);
        });
        if self.terminal {
            let bar = ProgressBar::with_draw_target(total, ProgressDrawTarget::stderr());
            let template = match total {
                Some(_) => "{prefix:<14} {bar:40} {pos}/{len} {elapsed} {msg}",
                None => "{prefix:<14} {spinner} {pos} {elapsed} {msg}",
            };
            // If the template did not parse, indicatif's own would do.
            bar.set_style(
                ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()),
            );
            bar.set_prefix(label);
            bar.enable_steady_tick(Duration::from_millis(100));
            *self.bar.lock().unwrap_or_else(PoisonError::into_inner) = Some(bar);
        }
    }

    /// Counts a prompt that has ended.
    pub(crate) fn ended(&self, ok: bool) {
        self.with(|plain| {
            if ok {
                plain.answered += 1;
            } else {
                plain.failed += 1;
            }
        });
        if let Some(bar) = self.bar() {
            bar.inc(1);
        }
    }

    /// Brings the report up to date. `trouble` is the last failure, if there has been no answer since.
    pub(crate) fn tick(&self, trouble: Option<&str>) {
        match self.bar() {
            Some(bar) => bar.set_message(self.with(|plain| plain.remarks(trouble))),
            None if self.terminal => {}
            None => self.with(|plain| plain.report(trouble)),
        }
    }

    /// Writes a message that stays.
    pub(crate) fn say(&self, words: impl Display) {
        let say = || self.with(|plain| plain.say(&words));
        match self.bar() {
            Some(bar) => bar.suspend(say),
            None => say(),
        }
    }

    /// Ends the report: the bar stays as it is, or is removed.
    pub(crate) fn end(&self, keep: bool) {
        if let Some(bar) = self.bar() {
            bar.disable_steady_tick();
            if keep {
                bar.abandon();
            } else {
                bar.finish_and_clear();
            }
        }
    }

    /// The bar, if one is drawn. Clones are the same bar.
    fn bar(&self) -> Option<ProgressBar> {
        self.bar.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn with<T>(&self, change: impl FnOnce(&mut Plain) -> T) -> T {
        change(&mut self.plain.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Plain {
    fn report(&mut self, trouble: Option<&str>) {
        let now = Instant::now();
        if now.duration_since(self.told) < PLAIN_EVERY {
            return;
        }
        // While answers come, a failure in between is nothing to worry about.
        let trouble = trouble.filter(|_| self.answered == self.answered_then);
        (self.told, self.answered_then) = (now, self.answered);
        let of = self.total.map(|total| format!(" of {total}")).unwrap_or_default();
        let (label, answered, remarks) = (self.label, self.answered, self.remarks(trouble));
        let separator = if remarks.is_empty() { "" } else { "; " };
        let seconds = now.duration_since(self.began).as_secs();
        self.say(&format_args!("{label}: {answered}{of} answered after {seconds} s{separator}{remarks}"));
    }

    /// How many failed, and why nothing comes.
    fn remarks(&self, trouble: Option<&str>) -> String {
        let failed = (self.failed > 0).then(|| format!("{} failed", self.failed));
        let trouble = trouble.map(|trouble| format!("last failure: {trouble}"));
        failed.into_iter().chain(trouble).collect::<Vec<_>>().join("; ")
    }

    fn say(&mut self, words: &dyn Display) {
        // If standard error is closed, there is nobody to tell.
        let _ = writeln!(self.errors, "{words}");
        let _ = self.errors.flush();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use tokio::time::advance;

    #[derive(Clone, Default)]
    struct Log(Arc<Mutex<Vec<u8>>>);

    impl Write for Log {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    impl Log {
        fn text(&self) -> String {
            String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_log_gets_a_plain_line_every_few_seconds() {
        let log = Log::default();
        let progress = Progress::new(Box::new(log.clone()), false);
        progress.begin("aplomb", Some(9));
        progress.ended(true);
        progress.tick(None);
        advance(PLAIN_EVERY).await;
        progress.tick(None);
        progress.tick(None);
        progress.ended(false);
        progress.say("line 3 is not JSON");
        advance(PLAIN_EVERY).await;
        progress.tick(None);
        progress.end(false);
        assert_eq!(
            log.text(),
            "aplomb: 1 of 9 answered after 5 s\nline 3 is not JSON\naplomb: 1 of 9 answered after 10 s; 1 failed\n"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_log_says_why_nothing_comes_but_not_while_answers_come() {
        let log = Log::default();
        let progress = Progress::new(Box::new(log.clone()), false);
        progress.begin("batch", None);
        advance(PLAIN_EVERY).await;
        progress.tick(Some("Connection refused"));
        progress.ended(true);
        advance(PLAIN_EVERY).await;
        progress.tick(Some("503 Service Unavailable"));
        assert_eq!(
            log.text(),
            "batch: 0 answered after 5 s; last failure: Connection refused\nbatch: 1 answered after 10 s\n"
        );
    }
}
