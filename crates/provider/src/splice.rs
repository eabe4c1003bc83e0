//! Edits top-level fields of a JSON object and leaves every other byte as it was.
