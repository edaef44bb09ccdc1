//! Standard input, output and error.

use std::fmt;
use std::io::{self, IsTerminal, Read, Write};

/// The standard streams: those of the process, or of a test.
pub struct Stdio {
    pub(crate) input: Box<dyn Read + Send>,
    pub(crate) output: Box<dyn Write + Send>,
    pub(crate) errors: Box<dyn Write + Send>,
    pub(crate) terminal: bool,
}

impl Stdio {
    /// The streams of the process. Progress is drawn if standard error is a terminal.
    #[must_use]
    pub fn of_process() -> Self {
        let errors = io::stderr();
        let terminal = errors.is_terminal();
        Self {
            input: Box::new(io::stdin()),
            output: Box::new(io::stdout()),
            errors: Box::new(errors),
            terminal,
        }
    }

    /// Other streams, which are not terminals.
    #[must_use]
    pub fn new(
        input: impl Read + Send + 'static,
        output: impl Write + Send + 'static,
        errors: impl Write + Send + 'static,
    ) -> Self {
        Self {
            input: Box::new(input),
            output: Box::new(output),
            errors: Box::new(errors),
            terminal: false,
        }
    }
}

impl fmt::Debug for Stdio {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stdio").field("terminal", &self.terminal).finish_non_exhaustive()
    }
}
