//! An AI provider to test against, as a program: `aplomb-mock --help`.

mod args;
mod parse;

use std::io;
use std::process::ExitCode;

use clap::Parser as _;

use crate::args::Args;

#[tokio::main]
async fn main() -> ExitCode {
    match run(Args::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("aplomb-mock: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(args: Args) -> io::Result<()> {
    let address = args.listen;
    let server = args.builder()?.bind(address).await?;
    println!("OpenAI     {}", server.openai_base_url());
    println!("Anthropic  {}", server.base_url());
    println!("stats      {}/stats", server.base_url());
    tokio::signal::ctrl_c().await?;
    println!("{}", serde_json::to_string_pretty(&server.stats())?);
    Ok(())
}
