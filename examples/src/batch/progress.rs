//! How far a run has come, on standard error: a bar where somebody watches, a plain line now and then elsewhere.

use std::fmt::Display;
use std::io::Write;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use tokio::time::Instant;

/// A log file needs no more.
const PLAIN_EVERY: Duration = Duration::from_secs(5);

/// Tells how far a run has come. What is said is said above the bar.
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
}

impl Progress {
    /// Writes to `errors`, and draws a bar if that is a terminal.
    pub(crate) fn new(errors: Box<dyn Write + Send>, terminal: bool) -> Self {
        let began = Instant::now();
        let plain = Plain { label: "", errors, total: None, answered: 0, failed: 0, began, told: began };
        Self { terminal, bar: Mutex::new(None), plain: Mutex::new(plain) }
    }

    /// Begins anew, with this many prompts where their number is known.
    pub(crate) fn begin(&self, label: &'static str, total: Option<u64>) {
        let now = Instant::now();
        self.with(|plain| {
            (plain.label, plain.total, plain.began, plain.told) = (label, total, now, now);
            (plain.answered, plain.failed) = (0, 0);
        });
        if self.terminal {
            let bar = ProgressBar::with_draw_target(total, ProgressDrawTarget::stderr());
            let template = match total {
                Some(_) => "{prefix:<14} {bar:40} {pos}/{len} {elapsed} {msg}",
                None => "{prefix:<14} {spinner} {pos} {elapsed} {msg}",
            };
            // A template that does not parse would fall back to indicatif's own.
            bar.set_style(
                ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()),
            );
            bar.set_prefix(label);
            bar.enable_steady_tick(Duration::from_millis(100));
            *self.bar.lock().unwrap_or_else(PoisonError::into_inner) = Some(bar);
        }
    }

    /// A prompt has ended.
    pub(crate) fn ended(&self, ok: bool) {
        let failed = self.with(|plain| {
            if ok {
                plain.answered += 1;
            } else {
                plain.failed += 1;
            }
            plain.failed
        });
        if let Some(bar) = self.bar() {
            bar.inc(1);
            if failed > 0 {
                bar.set_message(format!("{failed} failed"));
            }
        }
    }

    /// Time goes by.
    pub(crate) fn tick(&self) {
        if !self.terminal {
            self.with(Plain::tell_now_and_then);
        }
    }

    /// Says something that stays.
    pub(crate) fn say(&self, words: impl Display) {
        let say = || self.with(|plain| plain.say(&words));
        match self.bar() {
            Some(bar) => bar.suspend(say),
            None => say(),
        }
    }

    /// The run is over: the bar stays as it is, or goes away.
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

    /// The bar that is drawn; clones are the same bar.
    fn bar(&self) -> Option<ProgressBar> {
        self.bar.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn with<T>(&self, change: impl FnOnce(&mut Plain) -> T) -> T {
        change(&mut self.plain.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Plain {
    fn tell_now_and_then(&mut self) {
        let now = Instant::now();
        if now.duration_since(self.told) < PLAIN_EVERY {
            return;
        }
        self.told = now;
        let Self { label, total, answered, failed, .. } = *self;
        let of = total.map(|total| format!(" of {total}")).unwrap_or_default();
        let and = if failed > 0 {
            format!(", {failed} failed")
        } else {
            String::new()
        };
        let seconds = now.duration_since(self.began).as_secs();
        self.say(&format_args!("{label}: {answered}{of} answered{and}, {seconds} s"));
    }

    fn say(&mut self, words: &dyn Display) {
        // Where standard error is closed, there is nobody to tell so.
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

    #[tokio::test(start_paused = true)]
    async fn a_log_gets_a_plain_line_now_and_then() {
        let log = Log::default();
        let progress = Progress::new(Box::new(log.clone()), false);
        progress.begin("aplomb", Some(9));
        progress.ended(true);
        progress.tick();
        advance(PLAIN_EVERY).await;
        progress.tick();
        progress.tick();
        progress.ended(false);
        progress.say("line 3: no JSON");
        advance(PLAIN_EVERY).await;
        progress.tick();
        progress.end(false);
        let told = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
        assert_eq!(
            told,
            "aplomb: 1 of 9 answered, 5 s\nline 3: no JSON\naplomb: 1 of 9 answered, 1 failed, 10 s\n"
        );
    }
}
