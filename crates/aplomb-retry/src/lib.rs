//! A tower layer that sends a failed request again, later: jittered backoff that listens to Retry-After.
