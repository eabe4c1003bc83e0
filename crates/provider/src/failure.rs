//! Turns providers' error answers into `Failure`s.

use domain::failure::Failure;

/// The failure that a provider's error answer reports.
pub fn from_response(status: u16, headers: &[(String, String)], body: &[u8]) -> Failure {
    let _ = (status, headers, body);
    unimplemented!()
}
