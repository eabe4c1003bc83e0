//! OpenAI's dialect: streams on their way to the caller.
