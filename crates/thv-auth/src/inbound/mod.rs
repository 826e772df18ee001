//! Checks the tokens that callers of our own API present.
