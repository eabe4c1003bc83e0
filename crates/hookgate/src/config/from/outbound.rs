//! How providers and destinations are reached: `hookgate.egress`, and LiteLLM's `ssl_verify`.

use domain::{
    outbound::{ForwardProxy, Outbound},
    secret::Secret,
};
use rustls::RootCertStore;
use url::Url;

use crate::config::{
    parts::signing::read_certificates,
    section::{Field, Section, Unknown},
};

/// The ways out, by whom they lead to.
#[derive(Debug, Clone, Default)]
pub(crate) struct Egress {
    pub(crate) providers: Outbound,
    pub(crate) destinations: Outbound,
}

impl Egress {
    /// Takes what `hookgate.egress` says.
    pub(crate) fn read(section: Section<'_>) -> Self {
        let side = |key| section.section(key).map(read_side).unwrap_or_default();
        let egress = Self { providers: side("providers"), destinations: side("destinations") };
        section.finish(Unknown::Refuse, &[]);
        egress
    }
}

fn read_side(section: Section<'_>) -> Outbound {
    let except = section.get("no_proxy").map(|field| field.texts()).unwrap_or_default();
    let url = section.get("proxy").and_then(|field| proxy_url(&field));
    let proxy = url.map(|url| ForwardProxy { url, except });
    let extra_roots = section.get("ca_file").map(|field| roots(&field)).unwrap_or_default();
    section.finish(Unknown::Refuse, &[]);
    Outbound { proxy, extra_roots }
}

/// A proxy's URL. Problems do not repeat it: it may hold a password.
fn proxy_url(field: &Field<'_>) -> Option<Secret> {
    let text = field.text()?;
    let url = Url::parse(text.trim()).ok().filter(Url::has_host);
    let Some(url) = url else {
        field.problem("must be a URL such as http://proxy.example:3128");
        return None;
    };
    if url.scheme() != "http" {
        field.problem("must begin with http://: proxies are spoken to without TLS of their own");
        return None;
    }
    Some(Secret::new(text.trim()))
}

/// Root certificates in a file.
fn roots(field: &Field<'_>) -> Vec<Vec<u8>> {
    let certificates = read_certificates(field).unwrap_or_default();
    let mut store = RootCertStore::empty();
    let is_root = certificates.iter().all(|root| store.add(root.clone()).is_ok());
    if !is_root {
        field.problem("holds a certificate that cannot be trusted as a root");
        return Vec::new();
    }
    certificates.iter().map(|root| root.to_vec()).collect()
}

/// LiteLLM's `ssl_verify`: the file of a root, or a flag.
pub(crate) fn read_ssl_verify(field: &Field<'_>, providers: &mut Outbound) {
    let Some(text) = field.raw_text() else { return };
    match text.content.to_ascii_lowercase().as_str() {
        "true" => {}
        "false" => field.warning(
            "has no effect: certificates are always verified; name a root of your own here, or in \
             hookgate.egress.providers.ca_file",
        ),
        _ => providers.extra_roots.extend(roots(field)),
    }
}
