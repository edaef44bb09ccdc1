//! The results: one line each, written as they come.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde::Serialize;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use super::prompt::Id;

/// How many results may wait for the disk, or for the reader of standard output.
const MAX_WAITING: usize = 64;

/// The result of a prompt: one line of the output.
#[derive(Debug, Serialize)]
pub(crate) struct Record {
    pub(crate) id: Id,
    /// True if the whole answer arrived.
    pub(crate) ok: bool,
    pub(crate) text: Option<String>,
    pub(crate) error: Option<String>,
    /// How many requests were sent for it.
    pub(crate) attempts: u32,
    /// When a worker took it, in seconds since the run began.
    pub(crate) started_s: f64,
    pub(crate) ended_s: f64,
}

/// Writes records in a thread of its own, so that a slow reader cannot hold up the workers, nor a signal.
#[derive(Debug)]
pub(crate) struct Output {
    written: Arc<Counts>,
    ended: oneshot::Receiver<io::Result<()>>,
}

#[derive(Debug, Default)]
struct Counts {
    answered: AtomicU64,
    failed: AtomicU64,
}

/// The records of a run that are not handed over yet. Dropping it ends the output.
#[derive(Debug)]
pub(crate) struct Outbox {
    sender: mpsc::Sender<Record>,
    unsent: VecDeque<Record>,
}

/// How writing ended.
#[derive(Debug)]
pub(crate) struct Written {
    /// Answers that are in the output.
    pub(crate) answered: u64,
    /// Failures that are in the output.
    pub(crate) failed: u64,
    pub(crate) result: io::Result<()>,
}

impl Output {
    /// Writes to `sink` what is put into the outbox, line by line and each at once.
    pub(crate) fn to(mut sink: Box<dyn Write + Send>) -> io::Result<(Outbox, Self)> {
        let (sender, mut waiting) = mpsc::channel::<Record>(MAX_WAITING);
        let (end, ended) = oneshot::channel();
        let written = Arc::new(Counts::default());
        let counts = Arc::clone(&written);
        std::thread::Builder::new().name("output".to_owned()).spawn(move || {
            let mut write_all = || {
                while let Some(record) = waiting.blocking_recv() {
                    write(&mut sink, &record)?;
                    let count = if record.ok {
                        &counts.answered
                    } else {
                        &counts.failed
                    };
                    count.fetch_add(1, Ordering::Relaxed);
                }
                Ok(())
            };
            let result = write_all();
            // Nobody may be waiting for it.
            drop(end.send(result));
        })?;
        Ok((Outbox::new(sender), Self { written, ended }))
    }

    /// Waits until everything is written, for as long as that takes.
    pub(crate) async fn finish(&mut self, outbox: &mut Outbox) -> Written {
        outbox.empty().await;
        outbox.close();
        let result = (&mut self.ended).await;
        self.written(result.unwrap_or_else(|_| Err(io::Error::other("the writer ended too early"))))
    }

    /// Waits until everything is written, but no longer than `grace`: the reader may have stalled.
    pub(crate) async fn finish_within(&mut self, grace: Duration, outbox: &mut Outbox) -> Written {
        match timeout(grace, self.finish(outbox)).await {
            Ok(written) => written,
            Err(_) => self.written(Err(io::ErrorKind::TimedOut.into())),
        }
    }

    fn written(&self, result: io::Result<()>) -> Written {
        Written {
            answered: self.written.answered.load(Ordering::Relaxed),
            failed: self.written.failed.load(Ordering::Relaxed),
            result,
        }
    }
}

impl Outbox {
    pub(crate) fn new(sender: mpsc::Sender<Record>) -> Self {
        Self { sender, unsent: VecDeque::new() }
    }

    /// Adds a record, to be handed over by [`hand_over`](Self::hand_over).
    pub(crate) fn put(&mut self, record: Record) {
        self.unsent.push_back(record);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.unsent.is_empty()
    }

    /// Hands over the next record, if there is one. Fails when nothing is written any more; without a record, waits for
    /// that. Loses nothing when it is dropped.
    pub(crate) async fn hand_over(&mut self) -> Result<(), Closed> {
        if self.unsent.is_empty() {
            self.sender.closed().await;
        }
        let place = self.sender.reserve().await.map_err(|_| Closed)?;
        if let Some(record) = self.unsent.pop_front() {
            place.send(record);
        }
        Ok(())
    }

    async fn empty(&mut self) {
        while !self.is_empty() && self.hand_over().await.is_ok() {}
    }

    /// Lets go of the sender, so that the output ends.
    fn close(&mut self) {
        self.sender = mpsc::channel(1).0;
    }
}

/// Nothing is written any more.
#[derive(Debug)]
pub(crate) struct Closed;

fn write(sink: &mut impl Write, record: &Record) -> io::Result<()> {
    let mut line = serde_json::to_vec(record)?;
    line.push(b'\n');
    // In one call, so that a line is rarely torn.
    sink.write_all(&line)?;
    sink.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(number: usize, text: &str) -> Record {
        Record {
            id: Id::number(number),
            ok: true,
            text: Some(text.to_owned()),
            error: None,
            attempts: 2,
            started_s: 0.25,
            ended_s: 1.5,
        }
    }

    #[test]
    fn a_record_is_a_line_that_a_later_run_knows_by_its_beginning() {
        let mut line = Vec::new();
        write(&mut line, &record(7, "a\nb")).unwrap();
        let expected = "{\"id\":7,\"ok\":true,\"text\":\"a\\nb\",\"error\":null,\"attempts\":2,\"started_s\":0.25,\"ended_s\":1.5}\n";
        assert_eq!(String::from_utf8(line).unwrap(), expected);
    }

    /// Fails, or never returns.
    enum Broken {
        Closed,
        Stalled,
    }

    impl Write for Broken {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            match self {
                Self::Closed => Err(io::ErrorKind::BrokenPipe.into()),
                Self::Stalled => loop {
                    std::thread::park();
                },
            }
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[tokio::test]
    async fn a_sink_that_fails_is_reported_at_the_end() {
        let (mut outbox, mut output) = Output::to(Box::new(Broken::Closed)).unwrap();
        outbox.put(record(1, "a"));
        outbox.hand_over().await.unwrap();
        outbox.sender.closed().await;
        let written = output.finish(&mut outbox).await;
        assert_eq!(written.result.unwrap_err().kind(), io::ErrorKind::BrokenPipe);
        assert_eq!((written.answered, written.failed), (0, 0));
    }

    #[tokio::test]
    async fn what_is_in_the_outbox_is_written_at_the_end() {
        let path = std::env::temp_dir().join(format!("aplomb-outbox-{}", std::process::id()));
        let (mut outbox, mut output) = Output::to(Box::new(std::fs::File::create(&path).unwrap())).unwrap();
        (0..200).for_each(|number| outbox.put(record(number, "a")));
        let written = output.finish_within(Duration::from_secs(60), &mut outbox).await;
        assert!(written.result.is_ok());
        assert_eq!(written.answered, 200);
        assert_eq!(std::fs::read_to_string(&path).unwrap().lines().count(), 200);
        std::fs::remove_file(&path).unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_stalled_reader_is_waited_for_only_so_long_and_nothing_unwritten_is_counted() {
        let (mut outbox, mut output) = Output::to(Box::new(Broken::Stalled)).unwrap();
        (0..200).for_each(|number| outbox.put(record(number, "a")));
        let written = output.finish_within(Duration::from_secs(5), &mut outbox).await;
        assert_eq!(written.result.unwrap_err().kind(), io::ErrorKind::TimedOut);
        assert_eq!((written.answered, written.failed), (0, 0));
    }
}
