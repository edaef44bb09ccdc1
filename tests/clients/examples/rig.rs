//! rig's model behind an endpoint, through reqwest-middleware: `cargo run --example rig`, in `tests/clients`.

use aplomb::provider::OpenAi;
use aplomb::{BoxError, EndpointLayer};
use aplomb_mock::{Fault, Mock, Plan};
use aplomb_reqwest::Middleware;
use reqwest_middleware::ClientBuilder;
use rig_core::completion::CompletionRequest;
use rig_core::providers::openai::OpenAIConfig;
use rig_reqwest::ReqwestMiddlewareClient;

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let plan = Plan::script([Some(Fault::Unavailable), Some(Fault::Reset)]);
    let server = Mock::builder().plan(plan).start().await?;
    let config = OpenAIConfig::new("any").with_base_url(server.openai_base_url());

    let endpoint = Middleware::endpoint(EndpointLayer::new(OpenAi));
    let http = ClientBuilder::new(reqwest::Client::new()).with(endpoint).build();
    let model = config.connect(ReqwestMiddlewareClient::from(http)).completion("gpt-4o-mini");

    let answer = model.call(CompletionRequest::new("Why is the sky blue?")).await?;
    println!("{}\nafter {} requests", answer.text(), server.stats().seen);
    Ok(())
}
