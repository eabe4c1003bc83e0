//! One delivery as an HTTP request: id, body, headers.
