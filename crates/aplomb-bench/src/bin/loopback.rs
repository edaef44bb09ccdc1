//! `cargo run --release --bin loopback`: the time that an endpoint adds to a round trip over loopback.

use aplomb::provider::OpenAi;
use aplomb::{BoxError, EndpointLayer, Policy};
use aplomb_bench::Table;
use aplomb_mock::{Latency, Mock};
use bytes::Bytes;
use clap::Parser;
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::{Client, connect::HttpConnector};
use hyper_util::rt::TokioExecutor;
use std::time::Duration;
use tokio::time::Instant;
use tower::{Layer, Service, ServiceExt};

/// Calls a server on loopback that answers at once: through the client alone, through the client once more, and
/// through an endpoint, in turn; medians of the batches. The second row shows how much the first drifts.
#[derive(Parser)]
#[command(version)]
struct Args {
    /// Batches of each.
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    batches: u32,
    /// Sequential calls in a batch.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    calls: u32,
}

type Http = Client<HttpConnector, Full<Bytes>>;

fn main() -> Result<(), BoxError> {
    let Args { batches, calls } = Args::parse();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    // The server has a thread of its own, as a real one has a machine of its own.
    let (tell, told) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let Ok(runtime) = runtime else { return };
        runtime.block_on(async {
            let latency = Latency::constant(Duration::ZERO);
            if let Ok(server) = Mock::builder().latency(latency).start().await {
                let _ = tell.send(server.openai_base_url());
                std::future::pending::<()>().await;
            }
        });
    });
    let url = format!("{}/chat/completions", told.recv()?);
    let table = runtime.block_on(measure(&url, batches, calls))?;
    println!("loopback: a chat completion, one after the other; the answer is read\n\n{table}");
    Ok(())
}

async fn measure(url: &str, batches: u32, calls: u32) -> Result<Table, BoxError> {
    let client: Http = Client::builder(TokioExecutor::new()).build_http();
    let policy = Policy::new().requests_per_minute(100_000_000).tokens_per_minute(10_000_000_000);
    let endpoint = EndpointLayer::with_policy(OpenAi, policy)?.layer(client.clone());
    let mut times = [const { Vec::new() }; 3];
    for _ in 0..batches {
        times[0].push(batch(&client, url, calls).await?);
        times[1].push(batch(&client, url, calls).await?);
        times[2].push(batch(&endpoint, url, calls).await?);
    }
    let [bare, again, endpoint] = times.map(median);
    let mut table = Table::new(&["µs", "time ÷ bare"]);
    for (name, time) in [
        ("bare", bare),
        ("bare, once more", again),
        ("aplomb-endpoint", endpoint),
    ] {
        table.row(name, [format!("{:.1}", time * 1e6), format!("{:.3}", time / bare)]);
    }
    Ok(table)
}

/// Seconds per call.
async fn batch<S, B>(service: &S, url: &str, calls: u32) -> Result<f64, BoxError>
where
    S: Service<http::Request<Full<Bytes>>, Response = http::Response<B>, Error: Into<BoxError>> + Clone,
    B: http_body::Body<Error: Into<BoxError>>,
{
    let start = Instant::now();
    for _ in 0..calls {
        let prompt =
            r#"{"model": "m", "max_tokens": 16, "messages": [{"role": "user", "content": "Hello!"}]}"#;
        let request = http::Request::post(url)
            .header("content-type", "application/json")
            .body(Full::from(prompt))?;
        let response = service.clone().oneshot(request).await.map_err(Into::into)?;
        response.into_body().collect().await.map_err(Into::into)?;
    }
    Ok(start.elapsed().as_secs_f64() / f64::from(calls))
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}
