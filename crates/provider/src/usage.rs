//! Reads `usage` objects.
