//! HTTP clients, one for each way to connect: destinations that may be private, all others, and
//! those with TLS settings of their own. No destination gets a connection that it could not have
//! made itself.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use domain::destination::Tls;
use hyper_util::{
    client::legacy::Client,
    rt::{TokioExecutor, TokioTimer},
};
use rustls::{
    ClientConfig, ConfigBuilder, RootCertStore, WantsVerifier,
    client::WantsClientCert,
    crypto::aws_lc_rs,
    pki_types::{
        CertificateDer, PrivateKeyDer,
        pem::{self, PemObject},
    },
};

use tokio::sync::Semaphore;

use super::{
    Egress, SenderError,
    connect::{Connector, Way},
    guard::Guard,
    pieces::Pieces,
    tunnel::Tunnels,
};

/// The most that an answer's head may take, 1xx answers before it not counted.
const HEAD_BYTES_MAX: usize = 32 << 10;

/// The most fields in it.
const HEAD_FIELDS_MAX: usize = 100;

/// How long an unused connection is kept: less than the 5 s after which common servers (Node,
/// uvicorn) close theirs, so that we seldom send into a connection that is just being closed.
const IDLE_TIMEOUT: Duration = Duration::from_secs(4);

/// Unused connections kept for one receiver.
const IDLE_CONNECTIONS_MAX: usize = 32;

/// Clients kept for destinations with TLS settings of their own; the one that was not used for
/// longest goes first, and is made again when it is needed.
const OWN_TLS_CLIENTS_MAX: usize = 256;

pub(super) type HttpClient = Client<Connector, Pieces>;

/// Why a destination's TLS settings cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The root certificates are no PEM.
    #[error("could not read the root certificates")]
    Roots(#[source] pem::Error),
    /// A root certificate is none, or there is none at all.
    #[error("could not trust a root certificate")]
    Root(#[source] rustls::Error),
    /// There is no certificate in the PEM of the roots.
    #[error("the PEM of the root certificates has no certificate")]
    NoRoot,
    /// There is no certificate in the PEM of the client's.
    #[error("the PEM of the client's certificate has no certificate")]
    NoChain,
    /// The client's certificates are no PEM.
    #[error("could not read the client's certificate")]
    Chain(#[source] pem::Error),
    /// The client's key is no PEM.
    #[error("could not read the client's key")]
    Key(#[source] pem::Error),
    /// Certificate and key do not go together, or the key is of no supported kind.
    #[error("could not use the client's certificate with its key")]
    Client(#[source] rustls::Error),
}

/// All clients of one sender.
#[derive(Debug)]
pub(super) struct Clients {
    way: Way,
    roots: Arc<RootCertStore>,
    private: HttpClient,
    strict: HttpClient,
    /// With TLS settings of their own, the last used last.
    own: Mutex<VecDeque<(Tls, bool, HttpClient)>>,
}

impl Clients {
    pub(super) fn new(egress: Egress) -> Result<Self, SenderError> {
        let Egress { roots, proxy, connections_max, networks, resolver } = egress;
        let guard = Guard::new(resolver, networks);
        let way = Way {
            guard: Arc::clone(&guard),
            proxy: proxy.as_ref().map(Tunnels::new).map(Arc::new),
            places: Arc::new(Semaphore::new(connections_max)),
        };
        let roots = Arc::new(roots);
        let tls = builder().map_err(SenderError::Tls)?.with_root_certificates(Arc::clone(&roots));
        let tls = finish(tls.with_no_client_auth());
        let client = |allow_private| client(&way, allow_private, &tls);
        let (private, strict) = (client(true), client(false));
        Ok(Self { way, roots, private, strict, own: Mutex::default() })
    }

    pub(super) fn guard(&self) -> &Guard {
        &self.way.guard
    }

    /// The client for a destination.
    pub(super) fn get(
        &self,
        allow_private: bool,
        tls: Option<&Tls>,
    ) -> Result<HttpClient, TlsError> {
        let Some(tls) = tls else {
            return Ok(if allow_private { &self.private } else { &self.strict }.clone());
        };
        let mut own = self.own.lock().unwrap_or_else(PoisonError::into_inner);
        let index = own.iter().position(|(t, a, _)| t == tls && *a == allow_private);
        if let Some(used) = index.and_then(|index| own.remove(index)) {
            let client = used.2.clone();
            own.push_back(used);
            return Ok(client);
        }
        let made = client(&self.way, allow_private, &config(&self.roots, tls)?);
        if own.len() == OWN_TLS_CLIENTS_MAX {
            own.pop_front();
        }
        own.push_back((tls.clone(), allow_private, made.clone()));
        Ok(made)
    }
}

/// Passes TLS settings that attempts can be made with.
pub fn check_tls(tls: &Tls) -> Result<(), TlsError> {
    config(&Arc::new(RootCertStore::empty()), tls).map(|_| ())
}

/// The settings of a destination's own; `bundled` where it names no roots.
fn config(bundled: &Arc<RootCertStore>, tls: &Tls) -> Result<Arc<ClientConfig>, TlsError> {
    let roots = match &tls.roots {
        None => Arc::clone(bundled),
        Some(text) => Arc::new(roots(text)?),
    };
    let config = builder().map_err(TlsError::Root)?.with_root_certificates(roots);
    let Some(client) = &tls.client else { return Ok(finish(config.with_no_client_auth())) };
    let chain = certificates(&client.chain).map_err(TlsError::Chain)?;
    if chain.is_empty() {
        return Err(TlsError::NoChain);
    }
    let key = PrivateKeyDer::from_pem_slice(client.key.expose().as_bytes());
    let key = key.map_err(TlsError::Key)?;
    let config: ConfigBuilder<ClientConfig, WantsClientCert> = config;
    Ok(finish(config.with_client_auth_cert(chain, key).map_err(TlsError::Client)?))
}

fn roots(text: &str) -> Result<RootCertStore, TlsError> {
    let mut store = RootCertStore::empty();
    for root in certificates(text).map_err(TlsError::Roots)? {
        store.add(root).map_err(TlsError::Root)?;
    }
    if store.is_empty() { Err(TlsError::NoRoot) } else { Ok(store) }
}

fn certificates(text: &str) -> Result<Vec<CertificateDer<'static>>, pem::Error> {
    CertificateDer::pem_slice_iter(text.as_bytes()).collect()
}

fn builder() -> Result<ConfigBuilder<ClientConfig, WantsVerifier>, rustls::Error> {
    ClientConfig::builder_with_provider(aws_lc_rs::default_provider().into())
        .with_safe_default_protocol_versions()
}

fn finish(mut config: ClientConfig) -> Arc<ClientConfig> {
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Arc::new(config)
}

fn client(way: &Way, allow_private: bool, tls: &Arc<ClientConfig>) -> HttpClient {
    Client::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(IDLE_TIMEOUT)
        .pool_max_idle_per_host(IDLE_CONNECTIONS_MAX)
        .http1_max_buf_size(HEAD_BYTES_MAX)
        .http1_max_headers(HEAD_FIELDS_MAX)
        // Receivers that compare names by case expect the documents' spelling.
        .http1_title_case_headers(true)
        .build(Connector::new(way.clone(), allow_private, Arc::clone(tls)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Settings that differ from others in their text only.
    fn tls(number: usize) -> Tls {
        let root = include_str!("../../tests/data/root.pem");
        Tls { roots: Some(format!("{root}{}", "\n".repeat(number))), client: None }
    }

    #[test]
    fn of_too_many_clients_the_one_that_was_not_used_for_longest_goes() {
        let clients = Clients::new(Egress::bundled()).unwrap();
        for number in 0..OWN_TLS_CLIENTS_MAX {
            clients.get(false, Some(&tls(number))).unwrap();
        }
        clients.get(false, Some(&tls(0))).unwrap();
        clients.get(false, Some(&tls(OWN_TLS_CLIENTS_MAX))).unwrap();
        let own = clients.own.lock().unwrap();
        let is_kept = |number| own.iter().any(|(kept, ..)| *kept == tls(number));
        assert_eq!(own.len(), OWN_TLS_CLIENTS_MAX);
        assert_eq!([0, 1, 2].map(is_kept), [true, false, true]);
    }
}
