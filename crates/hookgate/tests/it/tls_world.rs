//! TLS in front of the fakes, with the certificates of the tests.

use std::{net::SocketAddr, sync::Arc};

use rustls::{
    RootCertStore, ServerConfig,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::WebPkiClientVerifier,
};
use testkit::zoo::Cage;
use tokio::{io::copy_bidirectional, net::TcpStream};

/// What signed the certificate of `localhost`, and the gateway's own.
pub(crate) const ROOT: &str = include_str!("../../../delivery/tests/data/other-root.pem");
/// What the gateway shows.
pub(crate) const CHAIN: &str = include_str!("../../../delivery/tests/data/client.pem");
/// Its key.
pub(crate) const KEY: &str = include_str!("../../../delivery/tests/data/client.key.pem");

const LOCALHOST: &[u8] = include_bytes!("../../../delivery/tests/data/own.pem");
const LOCALHOST_KEY: &[u8] = include_bytes!("../../../delivery/tests/data/own.key.pem");

/// TLS in front of what listens at a URL of its own.
pub(crate) async fn in_front_of(url: &str) -> Cage {
    start(url, server().with_no_client_auth()).await
}

/// The same for those only who show a certificate that the root signed.
pub(crate) async fn guarding(url: &str) -> Cage {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(ROOT.as_bytes()).expect("it is one")).expect("it is");
    let provider = Arc::new(aws_lc_rs::default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
    start(url, server().with_client_cert_verifier(verifier.build().expect("there is a root"))).await
}

fn server() -> rustls::ConfigBuilder<ServerConfig, rustls::WantsVerifier> {
    ServerConfig::builder_with_provider(aws_lc_rs::default_provider().into())
        .with_safe_default_protocol_versions()
        .expect("the provider has them")
}

async fn start(
    url: &str,
    config: rustls::ConfigBuilder<ServerConfig, rustls::server::WantsServerCert>,
) -> Cage {
    let config = config
        .with_single_cert(
            vec![CertificateDer::from_pem_slice(LOCALHOST).expect("it is one")],
            PrivateKeyDer::from_pem_slice(LOCALHOST_KEY).expect("it is one"),
        )
        .expect("they belong together");
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let behind = address(url);
    Cage::start(move |stream| {
        let acceptor = acceptor.clone();
        async move {
            let Ok(mut stream) = acceptor.accept(stream).await else { return };
            let Ok(mut plain) = TcpStream::connect(behind).await else { return };
            // Ends with either side; what was cut off is seen by who waits for it.
            let _ = copy_bidirectional(&mut stream, &mut plain).await;
        }
    })
    .await
}

fn address(url: &str) -> SocketAddr {
    let (_, rest) = url.split_once("://").expect("it is a URL");
    let authority = rest.split('/').next().unwrap_or_default();
    authority.parse().expect("a fake's URL has its address")
}
