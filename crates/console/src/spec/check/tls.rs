//! TLS towards one destination: certificates and a key, as PEM in the spec itself.

use delivery::send::{TlsError, check_tls};
use domain::{
    destination::{ClientCertificate, Tls},
    secret::Secret,
};

use super::{Checker, IS_MASK};
use crate::spec::describe::is_mask;

/// Bytes of one PEM, at most: a chain of certificates has some thousand.
const PEM_BYTES_MAX: usize = 64 << 10;

impl Checker<'_> {
    pub(super) fn tls(&mut self) -> Option<Tls> {
        let given = self.spec.tls.as_ref()?;
        let texts = [
            ("tls.ca", &given.ca),
            ("tls.client_certificate", &given.client_certificate),
            ("tls.client_key", &given.client_key),
        ];
        for (field, text) in texts {
            if text.as_ref().is_some_and(|text| text.len() > PEM_BYTES_MAX) {
                self.problem(field, format!("must have {PEM_BYTES_MAX} bytes at most"));
            }
        }
        let is_https = |url: &String| url.to_ascii_lowercase().starts_with("https:");
        if self.spec.url.as_ref().is_some_and(|url| !is_https(url)) {
            self.problem("tls", "has no effect: the URL does not begin with https://");
        }
        if given.client_key.as_deref().is_some_and(is_mask) {
            self.problem("tls.client_key", IS_MASK);
            return None;
        }
        let client = match (&given.client_certificate, &given.client_key) {
            (Some(chain), Some(key)) => {
                Some(ClientCertificate { chain: chain.clone(), key: Secret::new(key) })
            }
            (Some(_), None) => {
                self.problem("tls.client_key", "is missing: it goes with client_certificate");
                None
            }
            (None, Some(_)) => {
                self.problem("tls.client_certificate", "is missing: it goes with client_key");
                None
            }
            (None, None) => None,
        };
        // Apart, so that one mistake does not hide another.
        let parts = [(given.ca.clone(), None), (None, client.clone())];
        for (roots, client) in parts {
            if let Err(error) = check_tls(&Tls { roots, client }) {
                let (field, message) = explain(&error);
                self.problem(field, message);
            }
        }
        let tls = Tls { roots: given.ca.clone(), client };
        (tls.roots.is_some() || tls.client.is_some()).then_some(tls)
    }
}

/// Where a mistake stands, and what it is. The causes are of use to nobody here, and may repeat what
/// they were given.
fn explain(error: &TlsError) -> (&'static str, &'static str) {
    match error {
        TlsError::Roots(_) | TlsError::Root(_) | TlsError::NoRoot => {
            ("tls.ca", "holds no root certificate as PEM")
        }
        TlsError::Chain(_) | TlsError::NoChain => {
            ("tls.client_certificate", "holds no certificate as PEM")
        }
        TlsError::Key(_) => (
            "tls.client_key",
            "holds no private key as PEM (PKCS#8, PKCS#1 or SEC1, not encrypted)",
        ),
        TlsError::Client(_) => (
            "tls.client_key",
            "holds a key that does not fit the certificate in client_certificate",
        ),
    }
}
