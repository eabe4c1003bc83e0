//! What signs deliveries, and TLS towards one destination.

use std::path::Path;

use domain::{
    destination::{ClientCertificate, Format, SignedContent, Signing, Tls},
    secret::Secret,
};
use rustls::{
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    sign::CertifiedKey,
};

use crate::config::{
    policy::Policy,
    section::{Field, Section, Unknown},
};

/// The largest file of certificates that is read.
const PEM_BYTES_MAX: u64 = 4 << 20;

/// Reads `secret` (one, or a list with the newest first) and `signed_content`.
pub(crate) fn signing(section: &Section<'_>, policy: &Policy) -> Option<Signing> {
    let contents = [("timestamp", SignedContent::TimestampAndBody), ("body", SignedContent::Body)];
    let signed_content = section.get("signed_content");
    let chosen = signed_content.as_ref().and_then(|field| field.choice(&contents));
    let Some(field) = section.get("secret") else {
        if let Some(field) = signed_content {
            field.warning("has no effect without a secret: nothing is signed");
        }
        return None;
    };
    let secrets: Vec<_> = field.item_or_items().iter().filter_map(signing_secret).collect();
    (!secrets.is_empty()).then(|| Signing {
        secrets,
        algorithm: policy.defaults.signature_algorithm,
        header: policy.defaults.signature_header.clone(),
        signed_content: chosen.unwrap_or_default(),
    })
}

fn signing_secret(field: &Field<'_>) -> Option<Secret> {
    let text = field.text()?;
    match webhook::sign::check_secret(&text) {
        Ok(()) => Some(Secret::new(&text)),
        Err(error) => {
            field.problem(format!("cannot be used: {error}"));
            None
        }
    }
}

/// Warns where a format's receivers verify with a kind of secret that is not there.
pub(crate) fn warn_unverifiable(section: &Section<'_>, format: Format, signing: Option<&Signing>) {
    let is_asymmetric = |secret: &Secret| secret.expose().starts_with("whsk_");
    let only_asymmetric = signing.is_some_and(|signing| signing.secrets.iter().all(is_asymmetric));
    if only_asymmetric
        && matches!(format, Format::Helicone(_))
        && let Some(field) = section.get("secret")
    {
        field.warning(
            "holds no secret for Helicone-Signature, which is an HMAC; add one beside the whsk_ key",
        );
    }
}

/// Reads `tls`: files beside the one that names them, as PEM.
pub(crate) fn tls(section: &Section<'_>) -> Option<Tls> {
    let field = section.get("tls")?;
    let section = field.section()?;
    let roots = section.get("ca_file").and_then(|field| {
        let text = pem(&field)?;
        check_certificates(&text, &field).map(|_| text)
    });
    let (chain, key) = (section.get("client_certificate_file"), section.get("client_key_file"));
    let client = match (&chain, &key) {
        (Some(chain), Some(key)) => client_certificate(chain, key),
        (Some(field), None) => {
            field.problem("needs client_key_file beside it");
            None
        }
        (None, Some(field)) => {
            field.problem("needs client_certificate_file beside it");
            None
        }
        (None, None) => None,
    };
    section.finish(Unknown::Warn, &[]);
    (roots.is_some() || client.is_some()).then_some(Tls { roots, client })
}

/// A chain and the key that fits it.
fn client_certificate(chain: &Field<'_>, key: &Field<'_>) -> Option<ClientCertificate> {
    let (chain_text, key_text) = (pem(chain), pem(key));
    let (chain_text, key_text) = (chain_text?, key_text?);
    let certificates = check_certificates(&chain_text, chain)?;
    let Ok(private_key) = PrivateKeyDer::from_pem_slice(key_text.as_bytes()) else {
        key.problem("holds no private key as PEM (PKCS#8, PKCS#1 or SEC1, not encrypted)");
        return None;
    };
    if CertifiedKey::from_der(certificates, private_key, &aws_lc_rs::default_provider()).is_err() {
        key.problem("holds a key that does not fit the certificate in client_certificate_file");
        return None;
    }
    Some(ClientCertificate { chain: chain_text, key: Secret::new(&key_text) })
}

/// The certificates in a file that a value names.
pub(crate) fn read_certificates(field: &Field<'_>) -> Option<Vec<CertificateDer<'static>>> {
    check_certificates(&pem(field)?, field)
}

fn check_certificates(text: &str, field: &Field<'_>) -> Option<Vec<CertificateDer<'static>>> {
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text.as_bytes()).collect();
    match certificates {
        Ok(certificates) if !certificates.is_empty() => Some(certificates),
        _ => {
            field.problem("holds no certificate as PEM");
            None
        }
    }
}

/// The text of a file that a value names, relative to the file that it stands in.
fn pem(field: &Field<'_>) -> Option<String> {
    use std::io::Read;
    let named = field.text()?;
    let beside = Path::new(&field.node.at.file.name).parent().unwrap_or(Path::new(""));
    let path = beside.join(named);
    let mut text = String::new();
    let read = std::fs::File::open(&path)
        .and_then(|file| file.take(PEM_BYTES_MAX).read_to_string(&mut text));
    match read {
        Ok(_) => Some(text),
        Err(error) => {
            field.problem(format!("{} could not be read: {error}", path.display()));
            None
        }
    }
}
