//! Answers a batch of prompts, through aplomb: `cargo run --release --example batch`.
//!
//! Without arguments it shows what aplomb is good for, on this machine alone; `--help` says how to
//! use it with a real provider. What it does is in `examples/src/batch`.

use std::process::ExitCode;

use aplomb_examples::batch::{Args, Stdio, run};
use clap::Parser;

#[tokio::main]
async fn main() -> ExitCode {
    run(Args::parse(), Stdio::of_process(), stopped()).await.into()
}

/// Resolves when somebody wants the program to stop. Who says so again means it.
async fn stopped() {
    told_to_stop().await;
    tokio::spawn(async {
        told_to_stop().await;
        std::process::exit(1);
    });
}

#[cfg(unix)]
async fn told_to_stop() {
    use tokio::signal::unix::{SignalKind, signal};
    match signal(SignalKind::terminate()) {
        Ok(mut terminated) => tokio::select! {
            _ = tokio::signal::ctrl_c() => {}
            _ = terminated.recv() => {}
        },
        Err(_) => drop(tokio::signal::ctrl_c().await),
    }
}

#[cfg(not(unix))]
async fn told_to_stop() {
    drop(tokio::signal::ctrl_c().await);
}
