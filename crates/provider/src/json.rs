//! A strict JSON walker over bytes, for the scan.
