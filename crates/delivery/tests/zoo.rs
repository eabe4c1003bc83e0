//! The guarded client among bad receivers, names that change their minds, and certificates.
//!
//! What a receiver may cost is bounded: time by the attempt's deadline, memory by the caps on head
//! and body. More receivers of this kind are in `send.rs`.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::{
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use delivery::send::{
    ANSWER_BYTES_MAX, Egress, Phase, Resolve, Resolving, SendErrorKind, SendLimits, Sender, Sent,
    check_tls,
};
use domain::{
    destination::{ClientCertificate, Method, Tls},
    secret::Secret,
};
use rustls::{
    RootCertStore, ServerConfig,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::WebPkiClientVerifier,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpSocket, TcpStream},
    task::JoinSet,
};
use webhook::request::Request;

/// Longer than anything takes that does not hang.
const PATIENT: Duration = Duration::from_secs(20);
/// For what hangs: the test waits this long.
const SHORT: Duration = Duration::from_millis(200);
const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// A receiver by hand: one function per connection.
struct Receiver {
    address: SocketAddr,
    connections: Arc<AtomicUsize>,
    _server: JoinSet<()>,
}

impl Receiver {
    async fn start<F>(serve: impl Fn(TcpStream) -> F + Send + 'static) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        Self::at("127.0.0.1:0".parse().unwrap(), serve).await
    }

    async fn at<F>(address: SocketAddr, serve: impl Fn(TcpStream) -> F + Send + 'static) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let connections = Arc::new(AtomicUsize::new(0));
        let mut server = JoinSet::new();
        let count = Arc::clone(&connections);
        server.spawn(async move {
            let mut running = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                count.fetch_add(1, Ordering::SeqCst);
                running.spawn(serve(stream));
            }
        });
        Self { address, connections, _server: server }
    }

    /// One that reads something and writes these bytes.
    async fn answering(answer: impl Into<Vec<u8>>) -> Self {
        let answer = Arc::new(answer.into());
        Self::start(move |mut stream| {
            let answer = Arc::clone(&answer);
            async move {
                read_some(&mut stream).await;
                let _ = stream.write_all(&answer).await;
            }
        })
        .await
    }

    fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

async fn read_some(stream: &mut TcpStream) {
    let _ = stream.read(&mut vec![0; 16 << 10]).await;
}

fn request(url: &str) -> Request {
    let body = Bytes::from_static(b"{\"a\":1}");
    Request { method: Method::Post, url: url.to_owned(), headers: Vec::new(), body: body.into() }
}

const fn limits(timeout: Duration) -> SendLimits<'static> {
    SendLimits { timeout, allow_private: true, tls: None }
}

async fn send(url: &str, timeout: Duration) -> Sent {
    Sender::new().unwrap().send(request(url), limits(timeout)).await
}

fn kind(sent: &Sent) -> SendErrorKind {
    sent.answer.as_ref().unwrap_err().kind
}

fn status(sent: &Sent) -> u16 {
    sent.answer.as_ref().unwrap().status
}

#[tokio::test]
async fn a_receiver_that_never_accepts_costs_its_timeout() {
    // A full backlog: the kernel answers no further connection.
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(0).unwrap();
    let address = listener.local_addr().unwrap();
    let mut full = JoinSet::new();
    for _ in 0..8 {
        full.spawn(TcpStream::connect(address));
    }
    // Those that stand are in the backlog; the others wait for ever.
    let _first = full.join_next().await;
    let sent = loop {
        let sent = send(&format!("http://{address}/"), SHORT).await;
        // One may have found room in the backlog still.
        if kind(&sent) != SendErrorKind::Timeout(Phase::Answer) {
            break sent;
        }
    };
    assert_eq!(kind(&sent), SendErrorKind::Timeout(Phase::Connect), "{sent:?}");
    assert!(sent.duration < PATIENT && sent.timings.connect_ms.is_some(), "{sent:?}");
    assert_eq!(sent.address, Some(address), "whom it tried");
}

#[tokio::test]
async fn a_gzip_bomb_is_not_unpacked() {
    // 16 MiB of zeros, packed: what it would unpack to is never made.
    let mut packed = Vec::new();
    packed.extend_from_slice(&[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3]);
    packed.extend(
        std::iter::repeat_n([0xec, 0xc1, 1, 1, 0, 0, 0, 0x80, 0x90, 0xfe], 4_000).flatten(),
    );
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: {}\r\n\r\n",
        packed.len()
    );
    let receiver = Receiver::answering([head.as_bytes(), &packed].concat()).await;
    let sent = send(&format!("http://{}/", receiver.address), PATIENT).await;
    let answer = sent.answer.unwrap();
    assert_eq!(answer.status, 200);
    assert_eq!(answer.body_start, packed[..ANSWER_BYTES_MAX], "as it came, up to the cap");
}

#[tokio::test]
async fn a_connection_that_is_reset_mid_body_leaves_its_status() {
    let receiver = Receiver::start(|mut stream| async move {
        read_some(&mut stream).await;
        let part = b"HTTP/1.1 503 Busy\r\nContent-Length: 100000\r\n\r\npart";
        stream.write_all(part).await.unwrap();
        stream.set_zero_linger().unwrap();
    })
    .await;
    let sent = send(&format!("http://{}/", receiver.address), PATIENT).await;
    assert!(sent.answer.is_err() || status(&sent) == 503, "{sent:?}");
    assert!(sent.duration < PATIENT);
}

#[tokio::test]
async fn a_body_that_drips_holds_an_attempt_for_five_seconds_at_most() {
    let receiver = Receiver::start(|mut stream| async move {
        read_some(&mut stream).await;
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n").await.unwrap();
        std::future::pending::<()>().await;
    })
    .await;
    let sent = send(&format!("http://{}/", receiver.address), PATIENT).await;
    assert_eq!(status(&sent), 200);
    assert!(sent.duration < Duration::from_secs(8), "{:?}", sent.duration);
}

#[tokio::test]
async fn a_flood_of_provisional_answers_is_cut_off_before_its_timeout() {
    let receiver = Receiver::start(move |mut stream| async move {
        read_some(&mut stream).await;
        let hints = b"HTTP/1.1 103 Early Hints\r\nLink: <a>\r\n\r\n".repeat(100);
        while stream.write_all(&hints).await.is_ok() {}
    })
    .await;
    let sent = send(&format!("http://{}/", receiver.address), PATIENT).await;
    assert_eq!(kind(&sent), SendErrorKind::Protocol);
    let message = sent.answer.unwrap_err().message;
    assert_eq!(message, "receiver sent more than 256 KiB in answer to one request");
}

#[tokio::test]
async fn a_head_that_never_ends_is_refused_before_it_fills_memory() {
    let written = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&written);
    let receiver = Receiver::start(move |mut stream| {
        let count = Arc::clone(&count);
        async move {
            read_some(&mut stream).await;
            stream.write_all(b"HTTP/1.1 200 OK\r\nX: ").await.unwrap();
            while stream.write_all(&[b'x'; 1024]).await.is_ok() {
                count.fetch_add(1024, Ordering::SeqCst);
            }
        }
    })
    .await;
    let sent = send(&format!("http://{}/", receiver.address), PATIENT).await;
    assert_eq!(kind(&sent), SendErrorKind::Protocol);
    assert!(sent.duration < PATIENT);
}

#[tokio::test]
async fn redirects_are_not_followed_however_many_there_are() {
    let address = Arc::new(Mutex::new(None::<SocketAddr>));
    let own = Arc::clone(&address);
    let receiver = Receiver::start(move |mut stream| {
        let location = own.lock().unwrap().unwrap();
        async move {
            read_some(&mut stream).await;
            let answer = format!(
                "HTTP/1.1 302 Found\r\nLocation: http://{location}/\r\nContent-Length: 0\r\n\r\n"
            );
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    })
    .await;
    *address.lock().unwrap() = Some(receiver.address);
    let sent = send(&format!("http://{}/", receiver.address), PATIENT).await;
    assert_eq!(status(&sent), 302);
    assert_eq!(receiver.connections(), 1);
}

#[tokio::test]
async fn nothing_goes_to_where_the_gateway_itself_listens() {
    let receiver = Receiver::answering(OK).await;
    let sender = Sender::new().unwrap();
    let url = format!("http://{}/v1/chat/completions", receiver.address);
    assert_eq!(status(&sender.send(request(&url), limits(PATIENT)).await), 200);
    sender.refuse_listener(receiver.address);
    for host in ["127.0.0.1", "localhost", "[::ffff:127.0.0.1]"] {
        let url = format!("http://{host}:{}/", receiver.address.port());
        let sent = sender.send(request(&url), limits(PATIENT)).await;
        assert!(matches!(kind(&sent), SendErrorKind::Refused(_)), "{host}: {sent:?}");
        let message = sent.answer.unwrap_err().message;
        assert!(message.contains("the gateway's own"), "{message}");
    }
    assert_eq!(receiver.connections(), 1);
}

#[tokio::test]
async fn a_gateway_that_listens_everywhere_is_found_out_once_it_is_connected_to() {
    let receiver = Receiver::at("0.0.0.0:0".parse().unwrap(), |mut stream| async move {
        read_some(&mut stream).await;
        let _ = stream.write_all(OK).await;
    })
    .await;
    let port = receiver.address.port();
    // An address of the machine that is not loopback, if it has one: found by asking for a route.
    let probe = std::net::UdpSocket::bind("0.0.0.0:0").unwrap();
    let own = probe.connect("192.0.2.1:9").and_then(|()| probe.local_addr());
    let own = own.map_or(IpAddr::V4(Ipv4Addr::LOCALHOST), |address| address.ip());
    let sender = Sender::new().unwrap();
    sender.refuse_listener(receiver.address);
    for ip in [own, IpAddr::V4(Ipv4Addr::LOCALHOST)] {
        let url = format!("http://{}/", SocketAddr::new(ip, port));
        let sent = sender.send(request(&url), limits(PATIENT)).await;
        assert!(matches!(kind(&sent), SendErrorKind::Refused(_)), "{ip}: {sent:?}");
    }
}

/// Answers each question with the next list of addresses, and counts the questions.
struct Fickle {
    answers: Mutex<Vec<Vec<IpAddr>>>,
    asked: Arc<AtomicUsize>,
}

impl Resolve for Fickle {
    fn resolve<'a>(&'a self, _: &'a str, port: u16) -> Resolving<'a> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        let mut answers = self.answers.lock().unwrap();
        let answer = if answers.len() > 1 { answers.remove(0) } else { answers[0].clone() };
        Box::pin(async move {
            Ok::<_, io::Error>(answer.into_iter().map(|ip| SocketAddr::new(ip, port)).collect())
        })
    }
}

fn ips(texts: &[&str]) -> Vec<IpAddr> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

fn fickle(answers: &[&[&str]], allowed: &[&str]) -> (Sender, Arc<AtomicUsize>) {
    let asked = Arc::new(AtomicUsize::new(0));
    let answers = Mutex::new(answers.iter().map(|answer| ips(answer)).collect());
    let resolver = Box::new(Fickle { answers, asked: Arc::clone(&asked) });
    let networks = allowed.iter().map(|text| text.parse().unwrap()).collect();
    (Sender::with(Egress { networks, resolver, ..Egress::bundled() }).unwrap(), asked)
}

#[tokio::test]
async fn a_name_that_changes_its_mind_gains_nothing() {
    // The allowed address is vetted and dialled; the next answer is the one an attacker wants.
    let allowed = Receiver::at("127.0.0.2:0".parse().unwrap(), |mut stream| async move {
        read_some(&mut stream).await;
        let closing = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";
        let _ = stream.write_all(closing).await;
    })
    .await;
    let port = allowed.address.port();
    let inner = Receiver::at(SocketAddr::new(ips(&["127.0.0.3"])[0], port), |_| async {}).await;
    let (sender, asked) = fickle(&[&["127.0.0.2"], &["127.0.0.3"]], &["127.0.0.2"]);
    let strict = SendLimits { timeout: PATIENT, allow_private: false, tls: None };
    let url = format!("http://rebind.example:{port}/");
    let first = sender.send(request(&url), strict).await;
    assert_eq!((status(&first), first.address), (200, Some(allowed.address)));
    assert_eq!(asked.load(Ordering::SeqCst), 1, "what was vetted is dialled, with no new question");
    let second = sender.send(request(&url), strict).await;
    assert!(matches!(kind(&second), SendErrorKind::Refused(_)), "{second:?}");
    assert_eq!((allowed.connections(), inner.connections()), (1, 0));
}

#[tokio::test]
async fn a_name_with_one_address_that_is_refused_is_refused_whole() {
    let receiver = Receiver::at("127.0.0.2:0".parse().unwrap(), |_| async {}).await;
    let answers: &[&[&str]] = &[&["127.0.0.2", "10.0.0.1"]];
    let (sender, _) = fickle(answers, &["127.0.0.2"]);
    let strict = SendLimits { timeout: PATIENT, allow_private: false, tls: None };
    let url = format!("http://mixed.example:{}/", receiver.address.port());
    let sent = sender.send(request(&url), strict).await;
    assert!(matches!(kind(&sent), SendErrorKind::Refused(_)), "{sent:?}");
    assert_eq!(receiver.connections(), 0);
}

const RECEIVER: (&[u8], &[u8]) =
    (include_bytes!("data/receiver.pem"), include_bytes!("data/receiver.key.pem"));
const OWN: (&[u8], &[u8]) = (include_bytes!("data/own.pem"), include_bytes!("data/own.key.pem"));
const EXPIRED: (&[u8], &[u8]) =
    (include_bytes!("data/expired.pem"), include_bytes!("data/expired.key.pem"));
const OTHER_ROOT: &str = include_str!("data/other-root.pem");

/// A TLS receiver with this certificate; it may ask for the gateway's.
async fn tls_receiver((chain, key): (&[u8], &[u8]), asks_for_client: bool) -> Receiver {
    let builder = ServerConfig::builder_with_provider(aws_lc_rs::default_provider().into())
        .with_safe_default_protocol_versions()
        .unwrap();
    let builder = if asks_for_client {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(OTHER_ROOT.as_bytes()).unwrap()).unwrap();
        let provider = Arc::new(aws_lc_rs::default_provider());
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
        builder.with_client_cert_verifier(verifier.build().unwrap())
    } else {
        builder.with_no_client_auth()
    };
    let chain = vec![CertificateDer::from_pem_slice(chain).unwrap()];
    let config = builder.with_single_cert(chain, PrivateKeyDer::from_pem_slice(key).unwrap());
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config.unwrap()));
    Receiver::start(move |stream| {
        let acceptor = acceptor.clone();
        async move {
            let Ok(mut stream) = acceptor.accept(stream).await else { return };
            let _ = stream.read(&mut vec![0; 16 << 10]).await;
            let _ = stream.write_all(OK).await;
            let _ = stream.shutdown().await;
        }
    })
    .await
}

fn tls(roots: Option<&str>, client: bool) -> Tls {
    let client = client.then(|| ClientCertificate {
        chain: include_str!("data/client.pem").to_owned(),
        key: Secret::new(include_str!("data/client.key.pem")),
    });
    Tls { roots: roots.map(str::to_owned), client }
}

async fn send_tls(sender: &Sender, receiver: &Receiver, tls: Option<&Tls>) -> Sent {
    let url = format!("https://localhost:{}/", receiver.address.port());
    sender.send(request(&url), SendLimits { timeout: PATIENT, allow_private: true, tls }).await
}

#[tokio::test]
async fn a_destination_may_trust_roots_of_its_own_and_no_other_does() {
    let receiver = tls_receiver(OWN, false).await;
    let sender = Sender::new().unwrap();
    let own = tls(Some(OTHER_ROOT), false);
    let trusted = send_tls(&sender, &receiver, Some(&own)).await;
    assert_eq!(status(&trusted), 200);
    assert!(trusted.timings.tls_ms.is_some(), "{:?}", trusted.timings);
    // Neither a destination without that setting nor its connection.
    let untrusting = send_tls(&sender, &receiver, None).await;
    assert_eq!(kind(&untrusting), SendErrorKind::Tls);
    // And who has roots of its own believes no others.
    let other = tls_receiver(RECEIVER, false).await;
    assert_eq!(kind(&send_tls(&sender, &other, Some(&own)).await), SendErrorKind::Tls);
}

#[tokio::test]
async fn an_expired_certificate_is_a_tls_error() {
    let receiver = tls_receiver(EXPIRED, false).await;
    let sender = Sender::new().unwrap();
    let sent = send_tls(&sender, &receiver, Some(&tls(Some(OTHER_ROOT), false))).await;
    assert_eq!(kind(&sent), SendErrorKind::Tls);
    let message = sent.answer.unwrap_err().message;
    assert!(message.to_lowercase().contains("expired"), "{message}");
}

#[tokio::test]
async fn a_receiver_that_asks_for_the_gateways_certificate_gets_the_destinations() {
    let receiver = tls_receiver(OWN, true).await;
    let sender = Sender::new().unwrap();
    let shown = send_tls(&sender, &receiver, Some(&tls(Some(OTHER_ROOT), true))).await;
    assert_eq!(status(&shown), 200, "{shown:?}");
    let silent = send_tls(&sender, &receiver, Some(&tls(Some(OTHER_ROOT), false))).await;
    assert!(silent.answer.is_err(), "{silent:?}");
}

#[tokio::test]
async fn tls_settings_that_cannot_be_used_are_said_so_and_show_no_key() {
    let sender = Sender::new().unwrap();
    let good = tls(Some(OTHER_ROOT), true);
    assert!(check_tls(&good).is_ok());
    let mut wrong_key = good.clone();
    wrong_key.client.as_mut().unwrap().key = Secret::new(include_str!("data/own.key.pem"));
    let mut no_key = good.clone();
    no_key.client.as_mut().unwrap().key = Secret::new("canary");
    let mut no_chain = good.clone();
    no_chain.client.as_mut().unwrap().chain = "nothing".to_owned();
    let roots = |text: &str| Tls { roots: Some(text.to_owned()), ..good.clone() };
    let broken = "-----BEGIN CERTIFICATE-----\n!!!\n-----END CERTIFICATE-----\n";
    for bad in [wrong_key, no_key, no_chain, roots(""), roots(broken), roots("nothing")] {
        let error = check_tls(&bad).unwrap_err();
        assert!(!format!("{error:?} {bad:?}").contains("canary"));
        let limits = SendLimits { timeout: PATIENT, allow_private: true, tls: Some(&bad) };
        let sent = sender.send(request("https://127.0.0.1:1/"), limits).await;
        assert_eq!(kind(&sent), SendErrorKind::Request, "{error}");
    }
}
