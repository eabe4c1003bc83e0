//! Server-sent events out of a byte stream.
