//! OpenAI-compatible vendors: a table.
