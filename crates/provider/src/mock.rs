//! Answers of `mock_response`.
