//! What AI providers say: errors, hints, usage and the end of a stream, as pure functions.
