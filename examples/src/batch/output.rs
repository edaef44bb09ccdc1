//! The results, one line each, written as they come.

use std::io::{self, Write};

use serde::Serialize;
use tokio::sync::{mpsc, oneshot};

use super::prompt::Id;

/// Results that wait for the disk, or for whoever reads standard output.
const WAITING: usize = 64;

/// What became of a prompt: a line of the output.
#[derive(Debug, Serialize)]
pub(crate) struct Record {
    pub(crate) id: Id,
    /// The whole answer arrived.
    pub(crate) ok: bool,
    pub(crate) text: Option<String>,
    pub(crate) error: Option<String>,
    /// Requests that were sent for it.
    pub(crate) attempts: u32,
    /// When a worker took it, in seconds since the run began.
    pub(crate) started_s: f64,
    pub(crate) ended_s: f64,
}

/// Writes records in a thread of its own: a reader that is slow must not hold up those who time answers.
#[derive(Debug)]
pub(crate) struct Output {
    /// Closed when there is no writing any more.
    pub(crate) records: mpsc::Sender<Record>,
    written: oneshot::Receiver<io::Result<()>>,
}

impl Output {
    /// Writes to `sink`, a line at a time and each at once.
    pub(crate) fn to(mut sink: Box<dyn Write + Send>) -> io::Result<Self> {
        let (records, mut waiting) = mpsc::channel::<Record>(WAITING);
        let (done, written) = oneshot::channel();
        std::thread::Builder::new().name("output".to_owned()).spawn(move || {
            let mut write = || {
                while let Some(record) = waiting.blocking_recv() {
                    write(&mut sink, &record)?;
                }
                Ok(())
            };
            let result = write();
            // Nobody may be waiting for it.
            drop(done.send(result));
        })?;
        Ok(Self { records, written })
    }

    /// Waits until all records are written.
    pub(crate) async fn finish(self) -> io::Result<()> {
        drop(self.records);
        self.written.await.unwrap_or_else(|_| Err(io::Error::other("the writer ended too early")))
    }
}

fn write(sink: &mut impl Write, record: &Record) -> io::Result<()> {
    let mut line = serde_json::to_vec(record)?;
    line.push(b'\n');
    // In one piece, so that as little as possible can be torn.
    sink.write_all(&line)?;
    sink.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_a_line_that_a_later_run_knows_by_its_beginning() {
        let record = Record {
            id: Id::number(7),
            ok: true,
            text: Some("a\nb".to_owned()),
            error: None,
            attempts: 2,
            started_s: 0.25,
            ended_s: 1.5,
        };
        let mut line = Vec::new();
        write(&mut line, &record).unwrap();
        let expected = "{\"id\":7,\"ok\":true,\"text\":\"a\\nb\",\"error\":null,\"attempts\":2,\"started_s\":0.25,\"ended_s\":1.5}\n";
        assert_eq!(String::from_utf8(line).unwrap(), expected);
    }

    #[tokio::test]
    async fn a_sink_that_fails_is_told_at_the_end() {
        struct Full;
        impl Write for Full {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::BrokenPipe.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let output = Output::to(Box::new(Full)).unwrap();
        let record = Record {
            id: Id::number(1),
            ok: false,
            text: None,
            error: None,
            attempts: 0,
            started_s: 0.0,
            ended_s: 0.0,
        };
        output.records.send(record).await.unwrap();
        output.records.closed().await;
        assert_eq!(output.finish().await.unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    }
}
