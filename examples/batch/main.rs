//! Answers a batch of prompts, through aplomb: `cargo run --release --example batch`.
//!
//! Without arguments it demonstrates aplomb on this machine; `--help` says how to use it with a real provider.
//! The code is in `examples/src/batch`.

use std::process::{self, ExitCode};
use std::time::Duration;

use aplomb_examples::batch::{Args, Stdio, run};
use clap::Parser;
use tokio::sync::oneshot;

/// The longest time from a signal to the end of the program.
const LONGEST_STOP: Duration = Duration::from_secs(10);

#[tokio::main]
async fn main() -> ExitCode {
    let args = Args::parse();
    let (stop, stopped) = oneshot::channel();
    // In a task of its own, so that it works even while the main task is blocked by a stalled reader.
    tokio::spawn(async move {
        signal().await;
        let _ = stop.send(());
        tokio::select! {
            () = signal() => {}
            () = tokio::time::sleep(LONGEST_STOP) => {}
        }
        process::exit(1);
    });
    run(args, Stdio::of_process(), async { drop(stopped.await) }).await.into()
}

/// Waits for Ctrl-C, or for a signal to terminate.
#[cfg(unix)]
async fn signal() {
    use tokio::signal::unix::{SignalKind, signal};
    match signal(SignalKind::terminate()) {
        Ok(mut terminated) => tokio::select! {
            _ = tokio::signal::ctrl_c() => {}
            _ = terminated.recv() => {}
        },
        Err(_) => drop(tokio::signal::ctrl_c().await),
    }
}

/// Waits for Ctrl-C.
#[cfg(not(unix))]
async fn signal() {
    drop(tokio::signal::ctrl_c().await);
}
