//! The ways out of the guarded client: through a proxy, and within its bounds on connections.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use delivery::send::{Egress, Phase, Resolve, Resolving, SendErrorKind, SendLimits, Sender, Sent};
use domain::{destination::Method, network::Network, outbound::ForwardProxy, secret::Secret};
use rustls::{
    RootCertStore, ServerConfig,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};
use testkit::{tunnel::Proxy, zoo::Cage};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
    sync::{Barrier, Semaphore},
    task::JoinSet,
};
use webhook::request::Request;

/// Longer than anything takes that does not hang.
const PATIENT: Duration = Duration::from_secs(20);
/// For what hangs: the test waits this long.
const SHORT: Duration = Duration::from_millis(200);
const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
/// Unused connections that the pool keeps for one receiver.
const IDLE_CONNECTIONS_MAX: usize = 32;

/// All names have this address.
struct Everything(IpAddr);

impl Resolve for Everything {
    fn resolve<'a>(&'a self, _: &'a str, port: u16) -> Resolving<'a> {
        Box::pin(async move { Ok(vec![SocketAddr::new(self.0, port)]) })
    }
}

async fn serve(mut stream: impl AsyncRead + AsyncWrite + Unpin) {
    let mut request = vec![0; 4096];
    while stream.read(&mut request).await.is_ok_and(|bytes| bytes > 0) {
        if stream.write_all(OK).await.is_err() {
            return;
        }
    }
}

async fn receiver() -> Cage {
    Cage::start(serve).await
}

async fn read_head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    String::from_utf8(head).unwrap()
}

fn sender(proxy: Option<&str>, except: &[&str], address: &str) -> Sender {
    let proxy = proxy.map(|proxy| ForwardProxy {
        url: Secret::new(&format!("http://user:p%40ss@{proxy}")),
        except: except.iter().map(|text| (*text).to_owned()).collect(),
    });
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(include_bytes!("data/root.pem")).unwrap()).unwrap();
    let resolver = Box::new(Everything(address.parse().unwrap()));
    let networks: Vec<Network> = vec!["127.0.0.0/8".parse().unwrap()];
    Sender::with(Egress { roots, proxy, networks, resolver, ..Egress::bundled() }).unwrap()
}

async fn send(sender: &Sender, url: &str, timeout: Duration) -> Sent {
    let body = Bytes::from_static(b"{}").into();
    let request = Request { method: Method::Post, url: url.to_owned(), headers: Vec::new(), body };
    sender.send(request, SendLimits { timeout, allow_private: false, tls: None }).await
}

fn kind(sent: &Sent) -> SendErrorKind {
    sent.answer.as_ref().unwrap_err().kind
}

fn status(sent: &Sent) -> u16 {
    sent.answer.as_ref().unwrap().status
}

#[tokio::test]
async fn a_proxy_is_asked_for_the_address_that_passed_and_never_for_a_name() {
    let proxy = Proxy::start().await;
    let receiver = receiver().await;
    let sender = sender(Some(&proxy.authority()), &[], "127.0.0.1");
    let port = receiver.port();
    let sent = send(&sender, &format!("http://receiver.example:{port}/"), PATIENT).await;
    assert_eq!(status(&sent), 200);
    assert_eq!(sent.address, Some(([127, 0, 0, 1], port).into()));
    let target = format!("127.0.0.1:{port}");
    // `user:p@ss`, as RFC 7617 writes it.
    let expected = format!(
        "CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\
         Proxy-Authorization: Basic dXNlcjpwQHNz\r\n\r\n"
    );
    assert_eq!(proxy.heads(), [expected]);
}

#[tokio::test]
async fn behind_a_proxy_addresses_are_refused_as_without() {
    let proxy = Proxy::start().await;
    for (address, url) in [
        ("10.0.0.1", "http://inner.example/"),
        ("169.254.169.254", "https://metadata.example/"),
        ("1.1.1.1", "http://192.168.0.1/"),
        ("1.1.1.1", "http://[::ffff:10.0.0.1]/"),
    ] {
        let sent = send(&sender(Some(&proxy.authority()), &[], address), url, PATIENT).await;
        assert!(matches!(kind(&sent), SendErrorKind::Refused(_)), "{url}: {sent:?}");
    }
    assert_eq!(proxy.heads(), [""; 0]);
}

#[tokio::test]
async fn who_is_excepted_is_asked_without_the_proxy() {
    let proxy = Proxy::start().await;
    let receiver = receiver().await;
    let port = receiver.port();
    let sender =
        sender(Some(&proxy.authority()), &["intranet.example", "127.0.0.0/8"], "127.0.0.1");
    for (host, through_proxy) in [
        ("intranet.example", 0),
        ("wiki.intranet.example", 0),
        ("127.0.0.1", 0),
        ("receiver.example", 1),
    ] {
        let before = proxy.heads().len();
        let sent = send(&sender, &format!("http://{host}:{port}/"), PATIENT).await;
        assert_eq!(status(&sent), 200, "{host}");
        assert_eq!(proxy.heads().len() - before, through_proxy, "{host}");
    }
}

#[tokio::test]
async fn tls_goes_through_a_proxy_to_the_receiver_itself() {
    let certificate = CertificateDer::from_pem_slice(include_bytes!("data/receiver.pem")).unwrap();
    let key = PrivateKeyDer::from_pem_slice(include_bytes!("data/receiver.key.pem")).unwrap();
    let config = ServerConfig::builder_with_provider(aws_lc_rs::default_provider().into())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let receiver = Cage::start(move |stream| {
        let acceptor = acceptor.clone();
        async move { serve(acceptor.accept(stream).await.unwrap()).await }
    })
    .await;
    let proxy = Proxy::start().await;
    let sender = sender(Some(&proxy.authority()), &[], "127.0.0.1");
    let sent = send(&sender, &receiver.url("https"), PATIENT).await;
    assert_eq!(status(&sent), 200, "the certificate is the name's, not the address's");
    assert_eq!(proxy.heads().len(), 1);
}

#[tokio::test]
async fn a_proxy_that_refuses_is_named_without_its_password() {
    for answer in
        ["HTTP/1.1 403 Forbidden\r\n\r\n", "HTTP/1.1 407 Who are you\r\n\r\n", "220 mail\r\n", ""]
    {
        let proxy = Cage::start(move |mut stream| async move {
            read_head(&mut stream).await;
            stream.write_all(answer.as_bytes()).await.unwrap();
        })
        .await;
        let authority = format!("127.0.0.1:{}", proxy.port());
        let sender = sender(Some(&authority), &[], "127.0.0.9");
        let sent = send(&sender, "http://receiver.example/", PATIENT).await;
        assert_eq!(kind(&sent), SendErrorKind::Connect, "{answer:?}");
        let message = sent.answer.unwrap_err().message;
        let expected = "could not connect to 127.0.0.9:80 through the proxy: tunnel error: ";
        assert!(message.starts_with(expected), "{message}");
        assert!(!message.contains("user") && !message.contains("p@ss"), "{message}");
    }
}

#[tokio::test]
async fn no_more_connections_are_open_at_once_than_there_are_places() {
    let may_end = Arc::new(Semaphore::new(0));
    let ends = Arc::clone(&may_end);
    let slow = Cage::start(move |mut stream| {
        let ends = Arc::clone(&ends);
        async move {
            let _bytes = stream.read(&mut [0; 4096]).await;
            ends.acquire().await.unwrap().forget();
            let closing = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";
            stream.write_all(closing).await.unwrap();
        }
    })
    .await;
    let receiver = receiver().await;
    let networks = vec!["127.0.0.0/8".parse().unwrap()];
    let egress = Egress { connections_max: 2, networks, ..Egress::bundled() };
    let sender = Sender::with(egress).unwrap();
    let mut slow_ones = JoinSet::new();
    for _ in 0..2 {
        let (sender, url) = (sender.clone(), slow.url("http"));
        slow_ones.spawn(async move { send(&sender, &url, PATIENT).await });
    }
    while slow.connections() < 2 {
        tokio::task::yield_now().await;
    }
    let waits = send(&sender, &receiver.url("http"), SHORT).await;
    assert_eq!(kind(&waits), SendErrorKind::Timeout(Phase::Connect));
    assert_eq!(receiver.connections(), 0);
    may_end.add_permits(2);
    while let Some(sent) = slow_ones.join_next().await {
        assert_eq!(status(&sent.unwrap()), 200);
    }
    assert_eq!(status(&send(&sender, &receiver.url("http"), PATIENT).await), 200);
}

#[tokio::test]
async fn the_pool_keeps_some_connections_for_a_receiver_and_not_all_that_there_were() {
    const AT_ONCE: usize = IDLE_CONNECTIONS_MAX + 8;
    // Answers once all have asked, so that each has a connection of its own.
    let all_asked = Arc::new(Barrier::new(AT_ONCE));
    let receiver = Cage::start(move |mut stream| {
        let all_asked = Arc::clone(&all_asked);
        async move {
            while stream.read(&mut [0; 4096]).await.is_ok_and(|bytes| bytes > 0) {
                all_asked.wait().await;
                stream.write_all(OK).await.unwrap();
            }
        }
    })
    .await;
    let sender = sender(None, &[], "127.0.0.1");
    for _ in 0..2 {
        let mut all = JoinSet::new();
        for _ in 0..AT_ONCE {
            let (sender, url) = (sender.clone(), receiver.url("http"));
            all.spawn(async move { send(&sender, &url, PATIENT).await });
        }
        while let Some(sent) = all.join_next().await {
            assert_eq!(status(&sent.unwrap()), 200);
        }
    }
    let again = receiver.connections() - AT_ONCE;
    assert!(again >= AT_ONCE - IDLE_CONNECTIONS_MAX, "{again} were made anew");
}
