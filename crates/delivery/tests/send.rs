//! The guarded client against receivers that answer well, badly and not at all.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use delivery::send::{ANSWER_BYTES_MAX, Egress, Phase, SendErrorKind, SendLimits, Sender, Sent};
use domain::destination::Method;
use rustls::{
    RootCertStore, ServerConfig,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::mpsc,
    task::JoinSet,
    time::timeout,
};
use webhook::request::Request;

/// Longer than anything takes that does not hang.
const PATIENT: Duration = Duration::from_secs(20);

/// For what hangs: the test waits this long.
const SHORT: Duration = Duration::from_millis(150);

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// A receiver by hand: runs one function per connection.
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
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
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

    /// One that reads each request and writes the same bytes, on connections that stay.
    async fn answering(answer: impl Into<Vec<u8>>) -> Self {
        let answer = Arc::new(answer.into());
        Self::start(move |mut stream| {
            let answer = Arc::clone(&answer);
            async move {
                while read_request(&mut stream).await.is_some() {
                    if stream.write_all(&answer).await.is_err() {
                        return;
                    }
                }
            }
        })
        .await
    }

    fn url(&self) -> String {
        format!("http://{}/hook?a=b", self.address)
    }

    fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

/// A request's head and body; `None` if the connection ended before.
async fn read_request(stream: &mut (impl AsyncRead + Unpin)) -> Option<String> {
    let mut bytes = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&bytes);
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length: usize =
                head.split("Content-Length: ").nth(1)?.lines().next()?.parse().ok()?;
            if body.len() == length {
                return Some(text.into_owned());
            }
        }
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    }
}

fn sender() -> Sender {
    Sender::new().unwrap()
}

fn request(url: &str) -> Request {
    let headers = vec![("webhook-id".into(), "evt_1".to_owned())];
    let body = Bytes::from_static(b"{\"a\":1}");
    Request { method: Method::Post, url: url.to_owned(), headers, body: body.into() }
}

async fn send(sender: &Sender, url: &str, timeout: Duration) -> Sent {
    sender.send(request(url), SendLimits { timeout, allow_private: true, tls: None }).await
}

async fn send_once(url: &str, timeout: Duration) -> Sent {
    send(&sender(), url, timeout).await
}

fn kind(sent: &Sent) -> SendErrorKind {
    sent.answer.as_ref().unwrap_err().kind
}

fn status(sent: &Sent) -> u16 {
    sent.answer.as_ref().unwrap().status
}

#[tokio::test]
async fn a_request_arrives_as_it_was_built_and_its_answer_is_read() {
    let (seen, mut requests) = mpsc::unbounded_channel();
    let receiver = Receiver::start(move |mut stream| {
        let seen = seen.clone();
        async move {
            seen.send(read_request(&mut stream).await.unwrap()).unwrap();
            let answer =
                "HTTP/1.1 429 Slow Down\r\nRetry-After: 17\r\nContent-Length: 5\r\n\r\nlater";
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    })
    .await;
    let mut put = request(&receiver.url());
    put.method = Method::Put;
    put.headers.push(("X-Webhook-Signature".into(), "sha256=é".to_owned()));
    let limits = SendLimits { timeout: PATIENT, allow_private: true, tls: None };
    let sent = sender().send(put, limits).await;
    let answer = sent.answer.unwrap();
    assert_eq!((answer.status, answer.retry_after.as_deref()), (429, Some("17")));
    assert_eq!(answer.body_start, "later");
    assert_eq!(sent.address, Some(receiver.address));
    let expected = format!(
        "PUT /hook?a=b HTTP/1.1\r\nAccept-Encoding: identity\r\nWebhook-Id: evt_1\r\n\
         X-Webhook-Signature: sha256=é\r\nHost: {}\r\nContent-Length: 7\r\n\r\n{{\"a\":1}}",
        receiver.address
    );
    assert_eq!(requests.recv().await.unwrap(), expected);
}

#[tokio::test]
async fn a_connection_serves_one_delivery_after_another() {
    let receiver = Receiver::answering(OK).await;
    let sender = sender();
    for _ in 0..10 {
        assert_eq!(status(&send(&sender, &receiver.url(), PATIENT).await), 200);
    }
    assert_eq!(receiver.connections(), 1);
}

#[tokio::test]
async fn a_connection_that_died_while_unused_costs_no_attempt() {
    let (closed, mut closings) = mpsc::unbounded_channel();
    let receiver = Receiver::start(move |mut stream| {
        let closed = closed.clone();
        async move {
            read_request(&mut stream).await.unwrap();
            stream.write_all(OK.as_bytes()).await.unwrap();
            drop(stream);
            closed.send(()).unwrap();
        }
    })
    .await;
    let sender = sender();
    for _ in 0..20 {
        assert_eq!(status(&send(&sender, &receiver.url(), PATIENT).await), 200);
        closings.recv().await.unwrap();
    }
    assert_eq!(receiver.connections(), 20);
}

#[tokio::test]
async fn a_body_that_drips_ends_at_the_deadline_and_its_status_counts() {
    let receiver = Receiver::start(|mut stream| async move {
        read_request(&mut stream).await.unwrap();
        let head = "HTTP/1.1 202 Accepted\r\nContent-Length: 1000000\r\n\r\n";
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut pace = tokio::time::interval(Duration::from_millis(10));
        while stream.write_all(b".").await.is_ok() {
            pace.tick().await;
        }
    })
    .await;
    let sent = send_once(&receiver.url(), SHORT).await;
    assert!(SHORT <= sent.duration && sent.duration < PATIENT, "{:?}", sent.duration);
    let answer = sent.answer.unwrap();
    assert_eq!(answer.status, 202);
    assert!(answer.body_start.starts_with(b"."));
}

#[tokio::test]
async fn a_body_without_end_is_cut_and_its_connection_closed() {
    let (gone, mut goings) = mpsc::unbounded_channel();
    let receiver = Receiver::start(move |mut stream| {
        let gone = gone.clone();
        async move {
            read_request(&mut stream).await.unwrap();
            let head = "HTTP/1.1 200 OK\r\nContent-Length: 9000000000000\r\n\r\n";
            stream.write_all(head.as_bytes()).await.unwrap();
            while stream.write_all(&[b'x'; 4_096]).await.is_ok() {}
            gone.send(()).unwrap();
        }
    })
    .await;
    let sent = send_once(&receiver.url(), PATIENT).await;
    assert_eq!(sent.answer.unwrap().body_start, vec![b'x'; ANSWER_BYTES_MAX]);
    timeout(PATIENT, goings.recv()).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_body_that_breaks_off_leaves_its_status() {
    let receiver = Receiver::start(|mut stream| async move {
        read_request(&mut stream).await.unwrap();
        let part = "HTTP/1.1 500 No\r\nContent-Length: 100\r\n\r\npart";
        stream.write_all(part.as_bytes()).await.unwrap();
    })
    .await;
    let answer = send_once(&receiver.url(), PATIENT).await.answer.unwrap();
    assert_eq!((answer.status, answer.body_start.as_ref()), (500, &b"part"[..]));
}

#[tokio::test]
async fn a_receiver_that_never_answers_costs_its_timeout() {
    let silent = Receiver::start(|mut stream| async move {
        read_request(&mut stream).await.unwrap();
        std::future::pending::<()>().await;
    })
    .await;
    let dripping = Receiver::start(|mut stream| async move {
        read_request(&mut stream).await.unwrap();
        let mut pace = tokio::time::interval(Duration::from_millis(10));
        let mut head = "HTTP/1.1 200 OK\r\nX: ".bytes().chain(std::iter::repeat(b'x'));
        while stream.write_all(&[head.next().unwrap()]).await.is_ok() {
            pace.tick().await;
        }
    })
    .await;
    let promising = Receiver::start(|mut stream| async move {
        read_request(&mut stream).await.unwrap();
        let mut pace = tokio::time::interval(Duration::from_millis(1));
        while stream.write_all(b"HTTP/1.1 103 Early Hints\r\n\r\n").await.is_ok() {
            pace.tick().await;
        }
    })
    .await;
    for (receiver, says) in [
        (silent, "connected, but no answer before the deadline"),
        (dripping, "bytes of it came"),
        (promising, "bytes of it came"),
    ] {
        let sent = send_once(&receiver.url(), SHORT).await;
        assert_eq!(kind(&sent), SendErrorKind::Timeout(Phase::Answer));
        let message = &sent.answer.as_ref().unwrap_err().message;
        assert!(message.ends_with(says), "{message}");
        assert_eq!(sent.address, Some(receiver.address));
        assert!(SHORT <= sent.duration && sent.duration < PATIENT, "{:?}", sent.duration);
    }
}

#[tokio::test]
async fn a_receiver_that_reads_nothing_costs_its_timeout() {
    let receiver = Receiver::start(|stream| async move {
        std::future::pending::<()>().await;
        drop(stream);
    })
    .await;
    let mut large = request(&receiver.url());
    large.body = Bytes::from(vec![b'x'; 16 << 20]).into();
    let sent =
        sender().send(large, SendLimits { timeout: SHORT, allow_private: true, tls: None }).await;
    assert_eq!(kind(&sent), SendErrorKind::Timeout(Phase::Send));
}

#[tokio::test]
async fn provisional_answers_are_passed_over() {
    let hints = "HTTP/1.1 103 Early Hints\r\nLink: <a>\r\n\r\n".repeat(20);
    let receiver = Receiver::answering(hints + OK).await;
    assert_eq!(status(&send_once(&receiver.url(), PATIENT).await), 200);
}

#[tokio::test]
async fn a_connection_that_breaks_before_an_answer_is_a_reset() {
    let closing = Receiver::start(|mut stream| async move {
        read_request(&mut stream).await.unwrap();
    })
    .await;
    let resetting = Receiver::start(|mut stream| async move {
        read_request(&mut stream).await.unwrap();
        stream.set_zero_linger().unwrap();
    })
    .await;
    let cutting = Receiver::start(|mut stream| async move {
        read_request(&mut stream).await.unwrap();
        stream.write_all(b"HTTP/1.1 200 OK\r\nConte").await.unwrap();
    })
    .await;
    for receiver in [closing, resetting, cutting] {
        let sent = send_once(&receiver.url(), PATIENT).await;
        assert_eq!(kind(&sent), SendErrorKind::Reset, "{:?}", sent.answer);
        assert_eq!(receiver.connections(), 1);
    }
}

#[tokio::test]
async fn what_is_not_http_or_has_too_large_a_head_is_a_protocol_error() {
    let answers = [
        "SSH-2.0-OpenSSH_9.2\r\n\r\n".to_owned(),
        "HTTP/1.1 999999 What\r\n\r\n".to_owned(),
        "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n".to_owned(),
        format!("HTTP/1.1 200 OK\r\nX: {}\r\n\r\n", "x".repeat(100_000)),
        format!("HTTP/1.1 200 OK\r\n{}\r\n", "X: x\r\n".repeat(5_000)),
        format!("HTTP/1.1 200 OK\r\n{}\r\n", "X: x\r\n".repeat(200)),
    ];
    for answer in answers {
        let start: String = answer.chars().take(60).collect();
        let receiver = Receiver::answering(answer).await;
        let sent = send_once(&receiver.url(), PATIENT).await;
        assert_eq!(kind(&sent), SendErrorKind::Protocol, "{start:?}: {:?}", sent.answer);
    }
}

#[tokio::test]
async fn no_bytes_of_a_receiver_make_the_sender_panic_or_hang() {
    let mut dice = fastrand::Rng::with_seed(2);
    let words: &[&[u8]] = &[
        b"HTTP/1.1 200 OK",
        b"\r\n",
        b"\r\n\r\n",
        b"\n",
        b" ",
        b":",
        b"Content-Length",
        b"5",
        b"0",
        b"Transfer-Encoding: chunked",
        b"ffffffffffffffff",
        b"Retry-After: \xff",
        b"Location: \x80",
        b"Connection: close",
        b"101",
        b"\0",
        b"HTTP/1.0 204 ",
        b";",
        b"Content-Length: 99999999999",
    ];
    for _ in 0..200 {
        let mut answer = Vec::new();
        if dice.bool() {
            answer.extend_from_slice(b"HTTP/1.1 200 OK\r\n");
        }
        for _ in 0..dice.usize(0..12) {
            answer.extend_from_slice(words[dice.usize(..words.len())]);
        }
        let answer = Arc::new(answer);
        let receiver = Receiver::start(move |mut stream| {
            let answer = Arc::clone(&answer);
            async move {
                read_request(&mut stream).await;
                let _ = stream.write_all(&answer).await;
            }
        })
        .await;
        let sent = send_once(&receiver.url(), PATIENT).await;
        assert!(sent.duration < PATIENT, "{sent:?}");
    }
}

#[tokio::test]
async fn a_redirect_is_an_answer_and_not_followed() {
    let inner = Receiver::answering(OK).await;
    let location = inner.url();
    let answer = format!("HTTP/1.1 307 Go\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n");
    let receiver = Receiver::answering(answer).await;
    let answer = send_once(&receiver.url(), PATIENT).await.answer.unwrap();
    assert_eq!((answer.status, answer.location), (307, Some(location)));
    assert_eq!(inner.connections(), 0);
}

#[tokio::test]
async fn a_private_address_in_any_spelling_is_refused_without_leave() {
    let receiver = Receiver::answering(OK).await;
    let port = receiver.address.port();
    let sender = sender();
    // A connection that another destination may use must not serve one that may not.
    assert_eq!(status(&send(&sender, &receiver.url(), PATIENT).await), 200);
    let strict = SendLimits { timeout: PATIENT, allow_private: false, tls: None };
    let hosts = [
        "localhost",
        "LOCALHOST",
        "127.0.0.1",
        "127.1",
        "0x7f.1",
        "0177.0.0.1",
        "2130706433",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "user:pass@127.0.0.1",
        "0.0.0.0",
        "[::]",
        "[::127.0.0.1]",
        "①②⑦.0.0.1",
        "127.0.1",
        "017700000001",
        "0x7f000001",
        "0x7F.0x0.0.01",
        "127.0.0.1:80@127.0.0.1",
        "127。0。0。1",
        "127.0。0.1",
        "[0:0:0:0:0:ffff:127.0.0.1]",
        "[::ffff:0:127.0.0.1]",
        "[64:ff9b::127.0.0.1]",
        "[64:ff9b::7f00:1]",
        "[64:ff9b:1::7f00:1]",
        "[2002:7f00:1::]",
        "[2606:4700::5efe:127.0.0.1]",
        "%31%32%37.0.0.1",
        "127.0.0.1.",
    ];
    for host in hosts {
        let sent = sender.send(request(&format!("http://{host}:{port}/")), strict).await;
        assert!(matches!(kind(&sent), SendErrorKind::Refused(_)), "{host}: {:?}", sent.answer);
    }
    assert_eq!(receiver.connections(), 1);
}

#[tokio::test]
async fn leave_for_private_addresses_opens_no_metadata_service() {
    for host in ["169.254.169.254", "[fd00:ec2::254]", "[::ffff:169.254.169.254]", "0.0.0.0"] {
        let sent = send_once(&format!("http://{host}:1/"), PATIENT).await;
        let SendErrorKind::Refused(refusal) = kind(&sent) else { panic!("{:?}", sent.answer) };
        assert!(!refusal.private, "{host}");
    }
}

#[tokio::test]
async fn a_refusal_says_which_address_and_why() {
    let strict = SendLimits { timeout: PATIENT, allow_private: false, tls: None };
    let sent = sender().send(request("http://127.0.0.1:1/"), strict).await;
    let message = sent.answer.unwrap_err().message;
    let expected = "`127.0.0.1` must not be a destination: address 127.0.0.1 is loopback";
    assert_eq!(message, expected);
}

#[tokio::test]
async fn what_cannot_be_connected_to_says_so() {
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let sent = send_once(&format!("http://{nobody}/"), PATIENT).await;
    assert_eq!((kind(&sent), sent.address), (SendErrorKind::Connect, Some(nobody)));
    let message = sent.answer.unwrap_err().message;
    assert!(message.starts_with(&format!("could not connect to {nobody}: ")), "{message}");

    // No resolver is asked for a label that no name can have.
    let host = "a".repeat(64);
    let sent = send_once(&format!("http://{host}/"), PATIENT).await;
    assert_eq!(kind(&sent), SendErrorKind::Dns, "{:?}", sent.answer);
}

#[tokio::test]
async fn a_request_that_http_cannot_carry_is_not_sent() {
    let receiver = Receiver::answering(OK).await;
    for url in [
        "",
        "hook",
        "/hook",
        "ftp://127.0.0.1/",
        "http://",
        "http://[fe80::1%25eth0]/",
        "http://[fe80::1%eth0]/",
        "http://[::1%25lo]/",
        "http://256.0.0.1/",
        "http://127.0.0.1.1/",
        "http://0x100000000/",
        "http://[127.0.0.1]/",
        "http://a b/",
    ] {
        assert_eq!(kind(&send_once(url, PATIENT).await), SendErrorKind::Request, "{url:?}");
    }
    for (name, value) in [("X A", "a"), ("X", "a\r\nHost: b"), ("X", "a\0"), ("", "a")] {
        let mut broken = request(&receiver.url());
        broken.headers.push((name.into(), value.to_owned()));
        let limits = SendLimits { timeout: PATIENT, allow_private: true, tls: None };
        let sent = sender().send(broken, limits).await;
        assert_eq!(kind(&sent), SendErrorKind::Request, "{name:?}: {value:?}");
    }
    assert_eq!(receiver.connections(), 0);
}

/// A TLS receiver with the certificate of `tests/data`.
async fn tls_receiver() -> Receiver {
    let certificate = CertificateDer::from_pem_slice(include_bytes!("data/receiver.pem")).unwrap();
    let key = PrivateKeyDer::from_pem_slice(include_bytes!("data/receiver.key.pem")).unwrap();
    let config = ServerConfig::builder_with_provider(aws_lc_rs::default_provider().into())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    Receiver::start(move |stream| {
        let acceptor = acceptor.clone();
        async move {
            let Ok(mut stream) = acceptor.accept(stream).await else { return };
            answer_all(&mut stream).await;
        }
    })
    .await
}

async fn answer_all(stream: &mut (impl AsyncRead + AsyncWrite + Unpin)) {
    while read_request(stream).await.is_some() {
        stream.write_all(OK.as_bytes()).await.unwrap();
        stream.flush().await.unwrap();
    }
}

fn trusting_sender() -> Sender {
    let mut roots = RootCertStore::empty();
    let root = CertificateDer::from_pem_slice(include_bytes!("data/root.pem")).unwrap();
    roots.add(root).unwrap();
    Sender::with(Egress { roots, ..Egress::bundled() }).unwrap()
}

#[tokio::test]
async fn https_reaches_a_receiver_with_a_trusted_certificate() {
    let receiver = tls_receiver().await;
    let sender = trusting_sender();
    for host in ["localhost", "127.0.0.1", "localhost"] {
        let url = format!("https://{host}:{}/", receiver.address.port());
        let sent = send(&sender, &url, PATIENT).await;
        assert_eq!(status(&sent), 200, "{host}");
        assert_eq!(sent.address, Some(receiver.address));
    }
    assert_eq!(receiver.connections(), 2);
}

#[tokio::test]
async fn a_certificate_of_nobody_or_for_another_name_is_a_tls_error() {
    let receiver = tls_receiver().await;
    let port = receiver.address.port();
    let untrusted = send_once(&format!("https://localhost:{port}/"), PATIENT).await;
    // The certificate does not name this spelling of the address.
    let mapped = format!("https://[::ffff:127.0.0.1]:{port}/");
    let misnamed = send(&trusting_sender(), &mapped, PATIENT).await;
    for (sent, cause) in [(untrusted, "UnknownIssuer"), (misnamed, "not valid for name")] {
        assert_eq!(kind(&sent), SendErrorKind::Tls, "{:?}", sent.answer);
        let message = sent.answer.unwrap_err().message;
        assert!(message.starts_with("TLS failed: ") && message.contains(cause), "{message}");
    }
}

#[tokio::test]
async fn https_to_a_receiver_without_tls_is_a_tls_error() {
    let plain = Receiver::start(|mut stream| async move {
        let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
    })
    .await;
    let closing = Receiver::start(|stream| async move { drop(stream) }).await;
    for receiver in [plain, closing] {
        let sent = send_once(&format!("https://{}/", receiver.address), PATIENT).await;
        assert_eq!(kind(&sent), SendErrorKind::Tls, "{:?}", sent.answer);
    }
}

#[tokio::test]
async fn a_tls_handshake_that_hangs_ends_at_the_deadline() {
    let receiver = Receiver::start(|stream| async move {
        std::future::pending::<()>().await;
        drop(stream);
    })
    .await;
    let sent = send_once(&format!("https://{}/", receiver.address), SHORT).await;
    assert_eq!(kind(&sent), SendErrorKind::Timeout(Phase::Tls));
}
