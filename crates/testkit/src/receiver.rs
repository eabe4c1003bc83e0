//! A fake receiver of webhooks: remembers every POST and answers by script.

use std::{
    collections::VecDeque,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use bytes::Bytes;
use serde_json::Value;
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinSet,
};

use crate::{
    gate::Gate,
    record::Record,
    wire::{self, Connection, Rest},
};

/// A POST as the receiver read it.
#[derive(Debug, Clone)]
pub struct Arrival {
    /// `POST`, mostly.
    pub method: String,
    /// With the query, if there was one.
    pub path: String,
    /// In order of arrival, names in lower case.
    pub headers: Vec<(String, String)>,
    /// As it came.
    pub body: Bytes,
    /// When it had been read.
    pub at: Instant,
    /// What it was, or will be, answered.
    pub status: u16,
    /// When the answer was written, if it was.
    pub answered_at: Option<Instant>,
}

impl Arrival {
    /// The first value of a header, by its lower-case name.
    pub fn header(&self, name: &str) -> Option<&str> {
        wire::header(&self.headers, name)
    }

    /// The body as JSON; `null` if it is none.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    /// Whether it was answered with a 2xx.
    pub fn is_accepted(&self) -> bool {
        self.answered_at.is_some() && (200..300).contains(&self.status)
    }

    /// What the body holds: the elements of an array, the lines of ndjson, or the one object.
    pub fn items(&self) -> Vec<Value> {
        match serde_json::from_slice(&self.body) {
            Ok(Value::Array(items)) => items,
            Ok(item) => vec![item],
            Err(_) => self
                .body
                .split(|byte| *byte == b'\n')
                .filter_map(|line| serde_json::from_slice(line).ok())
                .collect(),
        }
    }
}

/// What a receiver answers.
#[derive(Debug, Clone)]
pub struct Reply {
    status: u16,
    headers: Vec<(String, String)>,
    body: Bytes,
    gate: Option<Gate>,
    delay: Duration,
    is_echo: bool,
    is_reset: bool,
}

impl Reply {
    /// An empty answer with this status.
    pub fn status(status: u16) -> Self {
        let (headers, body) = (Vec::new(), Bytes::new());
        let (gate, delay) = (None, Duration::ZERO);
        Self { status, headers, body, gate, delay, is_echo: false, is_reset: false }
    }

    /// No answer: the connection is reset once the POST has been read.
    pub fn reset() -> Self {
        Self { is_reset: true, ..Self::status(0) }
    }

    /// Adds a header, such as `Retry-After`.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Sets the body.
    #[must_use]
    pub fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self
    }

    /// Holds the answer until the gate is open.
    #[must_use]
    pub fn held_at(mut self, gate: &Gate) -> Self {
        self.gate = Some(gate.clone());
        self
    }

    /// Repeats the headers of the POST as its body, a line each.
    #[must_use]
    pub fn echoing_headers(mut self) -> Self {
        self.is_echo = true;
        self
    }

    /// Takes so long to answer.
    #[must_use]
    pub fn after(mut self, delay: Duration) -> Self {
        self.delay = delay;
        self
    }
}

/// A fake receiver. Stops when dropped.
#[derive(Debug)]
pub struct Receiver {
    address: SocketAddr,
    shared: Arc<Shared>,
    server: JoinSet<()>,
}

#[derive(Debug)]
struct Shared {
    arrivals: Record<Arrival>,
    rules: Mutex<Vec<(String, Reply)>>,
    script: Mutex<VecDeque<Reply>>,
    default: Mutex<Reply>,
    cap: Mutex<Option<Cap>>,
}

/// What a receiver takes in a second: as nginx's `limit_req` with a `burst` and `nodelay`.
#[derive(Debug)]
struct Cap {
    per_second: f64,
    burst: f64,
    room: f64,
    counted_at: Instant,
}

impl Cap {
    fn takes_another(&mut self) -> bool {
        let now = Instant::now();
        let refilled = (now - self.counted_at).as_secs_f64() * self.per_second;
        self.counted_at = now;
        self.room = (self.room + refilled).min(self.burst);
        if self.room < 1.0 {
            return false;
        }
        self.room -= 1.0;
        true
    }
}

impl Receiver {
    /// Starts one that answers 200 to everything that its script leaves open.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback has a free port");
        let address = listener.local_addr().expect("a bound listener has an address");
        let shared = Arc::new(Shared {
            arrivals: Record::default(),
            rules: Mutex::default(),
            script: Mutex::default(),
            default: Mutex::new(Reply::status(200)),
            cap: Mutex::default(),
        });
        let mut server = JoinSet::new();
        server.spawn(serve(listener, shared.clone()));
        Self { address, shared, server }
    }

    /// `http://127.0.0.1:PORT/hook`.
    pub fn url(&self) -> String {
        format!("http://{}/hook", self.address)
    }

    /// Adds a reply to the script: each is given once, in order of the arrivals.
    pub fn push(&self, reply: Reply) {
        self.shared.script.lock().expect("no test panicked here").push_back(reply);
    }

    /// Adds `times` replies with this status: `fail(3, 503)`.
    pub fn fail(&self, times: usize, status: u16) {
        (0..times).for_each(|_| self.push(Reply::status(status)));
    }

    /// Takes back what is left of the script.
    pub fn drop_script(&self) {
        self.shared.script.lock().expect("no test panicked here").clear();
    }

    /// Gives this reply to every POST whose path or body holds `text`, whatever the script says.
    pub fn answer_to(&self, text: &str, reply: Reply) {
        self.rules().push((text.to_owned(), reply));
    }

    /// Takes back every `answer_to`.
    pub fn answer_alike(&self) {
        self.rules().clear();
    }

    fn rules(&self) -> std::sync::MutexGuard<'_, Vec<(String, Reply)>> {
        self.shared.rules.lock().expect("no test panicked here")
    }

    /// Changes the reply to arrivals that the script leaves open.
    pub fn set_default(&self, reply: Reply) {
        *self.shared.default.lock().expect("no test panicked here") = reply;
    }

    /// Answers 429 from now on to what comes faster than so many a second, but for bursts.
    pub fn cap(&self, per_second: u32, burst: u32) {
        let (burst, counted_at) = (f64::from(burst), Instant::now());
        let cap = Cap { per_second: f64::from(per_second), burst, room: burst, counted_at };
        *self.shared.cap.lock().expect("no test panicked here") = Some(cap);
    }

    /// Goes down: open connections end, new ones are refused. What arrived stays known.
    pub async fn go_down(&mut self) {
        self.server.shutdown().await;
    }

    /// Comes up again at the same address.
    pub async fn come_up(&mut self) {
        let listener = TcpListener::bind(self.address).await.expect("its own port is free again");
        self.server.spawn(serve(listener, self.shared.clone()));
    }

    /// Every POST so far, in order of arrival.
    pub fn arrivals(&self) -> Vec<Arrival> {
        self.shared.arrivals.all()
    }

    /// The items of every POST that was accepted, in order of arrival.
    pub fn items(&self) -> Vec<Value> {
        accepted_items(&self.arrivals())
    }

    /// Forgets what arrived.
    pub fn clear(&self) {
        self.shared.arrivals.clear();
    }

    /// Waits until `count` POSTs have come, and returns all.
    pub async fn wait_for(&self, count: usize) -> Vec<Arrival> {
        self.wait_until(&format!("{count} arrivals"), |seen| seen.len() >= count).await
    }

    /// Waits until accepted POSTs hold `count` items, and returns all items.
    pub async fn wait_for_items(&self, count: usize) -> Vec<Value> {
        let enough = |seen: &[Arrival]| accepted_items(seen).len() >= count;
        accepted_items(&self.wait_until(&format!("{count} items"), enough).await)
    }

    /// Waits until `enough` of what arrived, and returns all.
    pub async fn wait_until(
        &self,
        what: &str,
        enough: impl Fn(&[Arrival]) -> bool,
    ) -> Vec<Arrival> {
        self.shared.arrivals.wait_until(what, enough).await
    }
}

/// The items of those that were accepted.
pub fn accepted_items(arrivals: &[Arrival]) -> Vec<Value> {
    arrivals.iter().filter(|arrival| arrival.is_accepted()).flat_map(Arrival::items).collect()
}

async fn serve(listener: TcpListener, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                if let Ok((stream, _)) = accepted {
                    connections.spawn(serve_connection(stream, shared.clone()));
                }
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn serve_connection(stream: TcpStream, shared: Arc<Shared>) {
    let mut connection = Connection::new(stream);
    while let Ok(Some(head)) = connection.read_head().await {
        let rest = Rest::of(&head.headers, Rest::Bytes(0));
        let Ok(body) = connection.read_body(rest).await else { return };
        let mut words = head.first_line.split(' ').map(str::to_owned);
        let (method, path) = (words.next(), words.next().unwrap_or_default());
        let mut reply = shared.next_reply(&path, &body);
        if reply.is_echo {
            let lines = head.headers.iter().map(|(name, value)| format!("{name}: {value}\n"));
            reply.body = lines.collect::<String>().into();
        }
        let index = shared.arrivals.push(Arrival {
            method: method.unwrap_or_default(),
            path,
            headers: head.headers,
            body,
            at: Instant::now(),
            status: reply.status,
            answered_at: None,
        });
        if let Some(gate) = &reply.gate {
            tokio::select! {
                () = gate.pass() => {}
                () = connection.peer_gone() => return,
            }
        }
        if !reply.delay.is_zero() {
            tokio::select! {
                () = tokio::time::sleep(reply.delay) => {}
                () = connection.peer_gone() => return,
            }
        }
        if reply.is_reset {
            // If it fails, the peer has closed already.
            let _ = connection.reset();
            return;
        }
        // Marked before the sender can know: a test that waits for what the sender does next
        // must find the arrival accepted.
        shared.arrivals.update(index, |arrival| arrival.answered_at = Some(Instant::now()));
        if connection.write(&render(&reply)).await.is_err() {
            return;
        }
    }
}

impl Shared {
    fn next_reply(&self, path: &str, body: &[u8]) -> Reply {
        let mut cap = self.cap.lock().expect("no test panicked here");
        if cap.as_mut().is_some_and(|cap| !cap.takes_another()) {
            return Reply::status(429);
        }
        let rules = self.rules.lock().expect("no test panicked here");
        let text = String::from_utf8_lossy(body);
        let rule = rules.iter().find(|(sign, _)| path.contains(sign) || text.contains(sign));
        if let Some((_, reply)) = rule {
            return reply.clone();
        }
        let scripted = self.script.lock().expect("no test panicked here").pop_front();
        scripted.unwrap_or_else(|| self.default.lock().expect("no test panicked here").clone())
    }
}

fn render(reply: &Reply) -> Vec<u8> {
    let mut headers = vec![("content-length".to_owned(), reply.body.len().to_string())];
    headers.extend_from_slice(&reply.headers);
    let mut message = wire::render_head(&format!("HTTP/1.1 {} Status", reply.status), &headers);
    message.extend_from_slice(&reply.body);
    message
}
