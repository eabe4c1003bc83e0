//! Bad receivers: each breaks what a client may expect in a way of its own, on every connection.
//!
//! What they do they do for as long as the client stays.

use std::{
    future::Future,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpSocket, TcpStream},
    task::JoinSet,
};

/// What a connection reads of a request before it misbehaves.
const READ_BYTES: usize = 16 << 10;
/// Between two bytes of one that drips.
const DRIP: Duration = Duration::from_secs(1);
/// The head of a body whose end never comes.
const OPEN_HEAD: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n";

/// What a bad receiver does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Beast {
    /// Its kernel answers no connection.
    NeverAccepts,
    /// Accepts, and neither reads nor writes.
    NeverReads,
    /// Sends its head a byte a second.
    DripsHead,
    /// Sends its body a byte a second.
    DripsBody,
    /// Sends a body without end, as fast as it is read.
    EndlessBody,
    /// Sends a packed body that unpacks to a thousand times its size.
    GzipBomb,
    /// Resets the connection before an answer.
    Resets,
    /// Answers 503 and resets the connection in the body.
    ResetsMidBody,
    /// Sends provisional answers without end.
    FloodsProvisional,
    /// Sends a head of a megabyte.
    HugeHead,
    /// Redirects to itself.
    Redirects,
    /// Writes what is not HTTP.
    Garbage,
    /// Answers 500.
    Fails,
}

impl Beast {
    /// All of them.
    pub const ALL: [Self; 13] = [
        Self::NeverAccepts,
        Self::NeverReads,
        Self::DripsHead,
        Self::DripsBody,
        Self::EndlessBody,
        Self::GzipBomb,
        Self::Resets,
        Self::ResetsMidBody,
        Self::FloodsProvisional,
        Self::HugeHead,
        Self::Redirects,
        Self::Garbage,
        Self::Fails,
    ];

    /// Starts one.
    pub async fn start(self) -> Cage {
        if self == Self::NeverAccepts {
            return Cage::full().await;
        }
        Cage::start(move |stream| async move {
            // A client that leaves is what ends it.
            let _ = self.serve(stream).await;
        })
        .await
    }

    async fn serve(self, mut stream: TcpStream) -> std::io::Result<()> {
        if self == Self::NeverReads {
            std::future::pending::<()>().await;
        }
        let own = stream.local_addr()?;
        // Some of a request is enough to answer it.
        let _bytes = stream.read(&mut vec![0; READ_BYTES]).await?;
        match self {
            Self::NeverAccepts | Self::NeverReads => Ok(()),
            Self::DripsHead => {
                stream.write_all(b"HTTP/1.1 200 OK\r\nX: ").await?;
                drip(&mut stream).await
            }
            Self::DripsBody => {
                stream.write_all(OPEN_HEAD).await?;
                drip(&mut stream).await
            }
            Self::EndlessBody => {
                stream.write_all(OPEN_HEAD).await?;
                without_end(&mut stream, &[b'x'; 16 << 10]).await
            }
            Self::GzipBomb => stream.write_all(&bomb()).await,
            Self::Resets => stream.set_zero_linger(),
            Self::ResetsMidBody => {
                let part = b"HTTP/1.1 503 Busy\r\nContent-Length: 100000\r\n\r\npart";
                stream.write_all(part).await?;
                stream.set_zero_linger()
            }
            Self::FloodsProvisional => {
                let hints = b"HTTP/1.1 103 Early Hints\r\nLink: <a>\r\n\r\n".repeat(100);
                without_end(&mut stream, &hints).await
            }
            Self::HugeHead => {
                let head = format!("HTTP/1.1 200 OK\r\nX: {}\r\n\r\n", "x".repeat(1 << 20));
                stream.write_all(head.as_bytes()).await
            }
            Self::Redirects => {
                let head =
                    format!("HTTP/1.1 302 Found\r\nLocation: http://{own}/\r\nContent-Length: 0");
                stream.write_all(head.as_bytes()).await?;
                stream.write_all(b"\r\n\r\n").await
            }
            Self::Garbage => stream.write_all(b"220 mail.example ESMTP\r\n").await,
            Self::Fails => {
                let answer = b"HTTP/1.1 500 Broken\r\nContent-Length: 4\r\n\r\noops";
                stream.write_all(answer).await
            }
        }
    }
}

async fn drip(stream: &mut TcpStream) -> std::io::Result<()> {
    loop {
        stream.write_all(b".").await?;
        tokio::time::sleep(DRIP).await;
    }
}

async fn without_end(stream: &mut TcpStream, piece: &[u8]) -> std::io::Result<()> {
    loop {
        stream.write_all(piece).await?;
    }
}

/// An answer of 40 kB that unpacks to megabytes of zeros.
fn bomb() -> Vec<u8> {
    let mut packed = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3];
    let zeros = [0xec, 0xc1, 1, 1, 0, 0, 0, 0x80, 0x90, 0xfe];
    packed.extend(std::iter::repeat_n(zeros, 4_000).flatten());
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: {}\r\n\r\n",
        packed.len()
    );
    [head.as_bytes(), &packed].concat()
}

/// A receiver by hand, one function per connection. Stops when dropped.
#[derive(Debug)]
pub struct Cage {
    address: SocketAddr,
    connections: Arc<AtomicUsize>,
    _server: JoinSet<()>,
    /// What fills the backlog of one that never accepts.
    _full: Vec<TcpStream>,
}

impl Cage {
    /// Serves each connection by `serve`.
    pub async fn start<F>(serve: impl Fn(TcpStream) -> F + Send + 'static) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback has a free port");
        let address = listener.local_addr().expect("a bound listener has an address");
        let connections = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&connections);
        let mut server = JoinSet::new();
        server.spawn(async move {
            let mut running = JoinSet::new();
            loop {
                tokio::select! {
                    accepted = listener.accept() => {
                        if let Ok((stream, _)) = accepted {
                            count.fetch_add(1, Ordering::SeqCst);
                            running.spawn(serve(stream));
                        }
                    }
                    Some(_) = running.join_next() => {}
                }
            }
        });
        Self { address, connections, _server: server, _full: Vec::new() }
    }

    /// One whose backlog is full, so that the kernel answers no further connection.
    async fn full() -> Self {
        let socket = TcpSocket::new_v4().expect("the system has sockets");
        socket.bind(SocketAddr::from(([127, 0, 0, 1], 0))).expect("loopback has a free port");
        let listener = socket.listen(0).expect("a bound socket listens");
        let address = listener.local_addr().expect("a bound listener has an address");
        let mut full = Vec::new();
        let a_while = Duration::from_millis(200);
        while let Ok(Ok(stream)) = tokio::time::timeout(a_while, TcpStream::connect(address)).await
        {
            full.push(stream);
        }
        let mut server = JoinSet::new();
        server.spawn(async move {
            let _listener = listener;
            std::future::pending::<()>().await;
        });
        Self { address, connections: Arc::default(), _server: server, _full: full }
    }

    /// `SCHEME://localhost:PORT/`, by the name that certificates of tests are made for.
    pub fn url(&self, scheme: &str) -> String {
        format!("{scheme}://localhost:{}/", self.address.port())
    }

    /// Where it listens on loopback.
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// How many connections it has accepted.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}
