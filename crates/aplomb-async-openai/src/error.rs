//! Errors, into async-openai's type and out of it.

use aplomb::EndpointError;
use async_openai::error::OpenAIError;

use crate::stream::BROKEN;

/// The error of a call as the client's caller gets it.
pub(crate) fn into_openai(error: EndpointError) -> OpenAIError {
    // The request could not be made: the client's own error says why.
    if !error.cause().is::<OpenAIError>() {
        return OpenAIError::Boxed(error.into());
    }
    match error.into_cause().downcast() {
        Ok(error) => *error,
        Err(error) => OpenAIError::Boxed(error),
    }
}

/// The error of the endpoint in that of a call: with the report, who rejected the call, and when to come back.
///
/// # Examples
///
/// ```
/// use aplomb::find;
/// use aplomb::rate_limit::RateLimited;
/// use aplomb_async_openai::endpoint_error;
/// use async_openai::error::OpenAIError;
///
/// fn explain(error: &OpenAIError) {
///     if let Some(error) = endpoint_error(error) {
///         println!("{}, again after {:?}", error.report(), error.retry_after());
///         println!("by the rate limit: {}", find::<RateLimited>(error).is_some());
///     }
/// }
/// ```
#[must_use]
pub fn endpoint_error(error: &OpenAIError) -> Option<&EndpointError> {
    match error {
        OpenAIError::Boxed(error) => error.downcast_ref(),
        _ => None,
    }
}

/// Why a stream broke, in the words of the endpoint, if `error` is that of a broken stream.
///
/// The client passes only the text of an error on that ends a stream. So the endpoint's is sent as a last event, which the client
/// cannot read: this error is `OpenAIError::JSONDeserialize`, and the transport's follows.
#[must_use]
pub fn broken_stream(error: &OpenAIError) -> Option<String> {
    let OpenAIError::JSONDeserialize(_, content) = error else {
        return None;
    };
    // A part of an event may be in front.
    let event = content.lines().rev().find(|line| line.contains(BROKEN))?;
    let event: serde_json::Value = serde_json::from_str(event).ok()?;
    Some(event["error"]["message"].as_str()?.to_owned())
}
