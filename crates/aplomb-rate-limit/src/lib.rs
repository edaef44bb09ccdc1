//! A tower layer that spaces requests out, in requests and tokens, so that the peer never has to refuse them.
