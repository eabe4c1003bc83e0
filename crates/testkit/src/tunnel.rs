//! An HTTP proxy that makes connections (`CONNECT`), and notes what it is asked for.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional},
    net::TcpStream,
};

use crate::zoo::Cage;

/// A proxy on loopback. Every name leads to loopback too.
#[derive(Debug)]
pub struct Proxy {
    cage: Cage,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Proxy {
    /// Starts one.
    pub async fn start() -> Self {
        let asked = Arc::new(Mutex::new(Vec::new()));
        let notes = Arc::clone(&asked);
        let cage = Cage::start(move |stream| {
            let notes = Arc::clone(&notes);
            async move {
                // Either side may leave, which ends it.
                let _ = serve(stream, &notes).await;
            }
        })
        .await;
        Self { cage, asked }
    }

    /// `127.0.0.1:PORT`.
    pub fn authority(&self) -> String {
        format!("127.0.0.1:{}", self.cage.port())
    }

    /// The heads of all requests so far, as they came.
    pub fn heads(&self) -> Vec<String> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Where connections were asked to go so far.
    pub fn targets(&self) -> Vec<String> {
        let target = |head: &String| head.split(' ').nth(1).unwrap_or_default().to_owned();
        self.heads().iter().map(target).collect()
    }
}

async fn serve(mut stream: TcpStream, notes: &Mutex<Vec<String>>) -> std::io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await?);
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let target = head.split(' ').nth(1).unwrap_or_default().to_owned();
    notes.lock().unwrap_or_else(PoisonError::into_inner).push(head);
    let (_, port) = target.rsplit_once(':').unwrap_or_default();
    let of_name = ([127, 0, 0, 1], port.parse().unwrap_or_default()).into();
    let address = target.parse().unwrap_or(of_name);
    let Ok(mut through) = TcpStream::connect::<std::net::SocketAddr>(address).await else {
        return stream.write_all(b"HTTP/1.1 502 Bad Gateway\r\n\r\n").await;
    };
    stream.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").await?;
    copy_bidirectional(&mut stream, &mut through).await.map(|_| ())
}
