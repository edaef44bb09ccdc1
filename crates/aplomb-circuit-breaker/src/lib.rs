//! A tower layer that stops asking a peer that keeps failing.
