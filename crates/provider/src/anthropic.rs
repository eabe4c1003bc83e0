//! Anthropic's dialect, translated both ways.
