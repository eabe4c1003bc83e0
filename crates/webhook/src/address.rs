//! Addresses that a destination may have.
