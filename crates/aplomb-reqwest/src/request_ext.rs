//! Options of a call in reqwest's requests.

use aplomb::CallOptions;
use reqwest::Request;

/// Puts options of a call, and other values that layers look for, into a request of reqwest.
///
/// An endpoint finds them there; the single layers cannot look into reqwest's requests, so run them in
/// [`CallOptions::scope`].
///
/// # Examples
///
/// ```
/// use aplomb::{CallOptions, Priority};
/// use aplomb_reqwest::RequestExt;
///
/// # fn main() -> reqwest::Result<()> {
/// # let client = reqwest::Client::new();
/// let request = client.post("https://api.openai.com/v1/chat/completions").body("{}").build()?;
/// let request = request.with_options(CallOptions::new().with_priority(Priority::HIGH));
/// # drop(request);
/// # Ok(())
/// # }
/// ```
pub trait RequestExt: Sized {
    /// Adds the options of this call, in place of others.
    #[must_use]
    fn with_options(self, options: CallOptions) -> Self {
        self.with_extension(options)
    }

    /// Adds a value to the extensions: a [`Charge`](aplomb::rate_limit::Charge), a
    /// [`CallKey`](aplomb::core::CallKey). A request that cannot be sent, for its URL, is returned as it was.
    #[must_use]
    fn with_extension<T: Clone + Send + Sync + 'static>(self, value: T) -> Self {
        let mut extensions = http::Extensions::new();
        extensions.insert(value);
        self.with_extensions(extensions)
    }

    /// Adds these values to the extensions.
    #[must_use]
    fn with_extensions(self, extensions: http::Extensions) -> Self;
}

impl RequestExt for Request {
    fn with_extensions(mut self, extensions: http::Extensions) -> Self {
        // Only http's type shows its extensions. The conversion loses the rest of the URL and whether there is a body.
        if http::Uri::try_from(self.url().as_str()).is_err() {
            return self;
        }
        let url = self.url().clone();
        let body = self.body_mut().take();
        let Ok(mut request) = http::Request::<reqwest::Body>::try_from(self) else {
            unreachable!("its URL has been looked at");
        };
        request.extensions_mut().extend(extensions);
        let Ok(mut request) = Self::try_from(request) else {
            unreachable!("its URL was one before");
        };
        *request.url_mut() = url;
        *request.body_mut() = body;
        request
    }
}
