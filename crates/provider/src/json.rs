//! A strict JSON walker over bytes, for the scan.

/// Why bytes are not JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{problem} at byte {position}")]
pub struct JsonError {
    /// Where, counted from 0.
    pub position: usize,
    /// What is wrong.
    pub problem: &'static str,
}
