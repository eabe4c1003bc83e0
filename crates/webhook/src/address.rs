//! Addresses that a destination may have.

use std::net::IpAddr;

/// Why an address must not be dialled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("address {address} is {kind}")]
pub struct Refusal {
    /// The address, as it was resolved.
    pub address: IpAddr,
    /// What it is, in words: `private`, `link-local`, …
    pub kind: &'static str,
    /// Whether `allow_private` would have let it through.
    pub private: bool,
}

/// Passes an address that a destination may have. `allow_private` opens the private ranges
/// (RFC 1918, loopback, unique local, shared, benchmarking) and never any other.
pub fn check(ip: IpAddr, allow_private: bool) -> Result<(), Refusal> {
    let _ = (ip, allow_private);
    unimplemented!()
}
