//! Doors for operators: our own (`/api/*`), and those of Helicone and `OpenRouter`, which are adapters
//! to the same destinations.
//!
//! Reads and writes through `store` and `delivery`; it knows no caller of an LLM API.
