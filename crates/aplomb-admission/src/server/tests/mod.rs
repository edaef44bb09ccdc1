//! Each rule of the brakes, as a dialogue with a server.

use std::time::Duration;

use aplomb_core::Outcome;

use super::*;
use crate::Worth;

mod limits;
mod others;
mod shut;

const MS: Duration = Duration::from_millis(1);
const S: Duration = Duration::from_secs(1);

/// A server and a clock.
struct Talk {
    server: Server,
    now: Instant,
}

impl Talk {
    fn new() -> Self {
        Self { server: Server::new(ServerSettings::new().seed(7)), now: Instant::now() }
    }

    /// One that has answered many calls.
    fn answering() -> Self {
        let mut talk = Self::new();
        (0..2_000).for_each(|_| talk.answered());
        talk
    }

    fn wait(&mut self, time: Duration) {
        self.now += time;
    }

    fn check(&mut self) -> Decision<HeldBy> {
        self.server.check(1, self.now)
    }

    fn send(&mut self) -> ServerToken {
        assert!(self.check().is_admit(), "{:?}", self.check());
        self.server.admit(1, true, self.now)
    }

    fn send_when_admitted(&mut self) -> ServerToken {
        while !self.check().is_admit() {
            self.held_until();
        }
        self.send()
    }

    fn end(&mut self, token: &ServerToken, outcome: Outcome) {
        self.server.end(token, End::Judged { outcome, usage: None }, self.now);
    }

    fn end_all(&mut self, tokens: &[ServerToken], outcome: Outcome) {
        for token in tokens {
            self.end(token, outcome);
        }
    }

    fn answered(&mut self) {
        let token = self.send();
        self.end(&token, Outcome::success());
    }

    /// A call that comes to nothing after two milliseconds.
    fn fails(&mut self, outcome: Outcome) {
        let token = self.send();
        self.wait(2 * MS);
        self.end(&token, outcome);
    }

    /// So many calls come to nothing together.
    fn all_fail(&mut self, calls: usize, outcome: Outcome) {
        let tokens: Vec<_> = (0..calls).map(|_| self.send()).collect();
        self.wait(2 * MS);
        self.end_all(&tokens, outcome);
    }

    /// Waits for the time until which a call is held back.
    fn held_until(&mut self) -> Duration {
        let Decision::NotBefore(at, _) = self.check() else {
            panic!("{:?}", self.check());
        };
        let wait = at - self.now;
        self.now = at;
        wait
    }

    /// Waits until a call may go.
    fn held_until_admitted(&mut self) {
        while !self.check().is_admit() {
            self.held_until();
        }
    }

    fn held_by(&mut self) -> Option<HeldBy> {
        self.server.snapshot(self.now).held_by
    }
}

fn hinted(hint: Duration) -> Outcome {
    Outcome::throttled().with_retry_after(hint)
}
