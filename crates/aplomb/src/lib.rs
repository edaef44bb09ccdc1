//! Tower middleware that makes calls to AI endpoints dependable: retry, rate limit, circuit breaker, composed.
