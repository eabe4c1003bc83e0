//! One OpenAI-shaped answer out of what a provider sent.
