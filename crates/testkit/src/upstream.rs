//! A fake provider: answers by script, remembers every request, notices callers who leave.

use std::{
    collections::VecDeque,
    net::SocketAddr,
    ops::ControlFlow,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Instant,
};

use bytes::Bytes;
use serde_json::Value;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinSet,
};

use crate::{
    answer::{Act, Answer, Framing, Plan, Point},
    record::Record,
    wire::{self, Connection, Rest},
};

/// A request as the fake provider read it.
#[derive(Debug, Clone)]
pub struct Received {
    /// `POST`, mostly.
    pub method: String,
    /// With the query, if there was one.
    pub path: String,
    /// In order of arrival, names in lower case.
    pub headers: Vec<(String, String)>,
    /// As it came.
    pub body: Bytes,
    /// Which connection it came on, counted from 0.
    pub connection: usize,
    /// When it had been read.
    pub at: Instant,
    /// How its answer went.
    pub state: AnswerState,
}

/// How far an answer came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AnswerState {
    /// Still being written, or waiting at a gate.
    Running,
    /// Written as scripted, up to its end, its cut or its reset.
    Done,
    /// The caller went away before.
    CallerGone,
}

impl Received {
    /// The body as JSON; `null` if it is none.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    /// The first value of a header, by its lower-case name.
    pub fn header(&self, name: &str) -> Option<&str> {
        wire::header(&self.headers, name)
    }
}

/// A fake provider. Stops when dropped.
#[derive(Debug)]
pub struct Upstream {
    address: SocketAddr,
    shared: Arc<Shared>,
    _server: JoinSet<()>,
}

#[derive(Debug)]
struct Shared {
    requests: Record<Received>,
    script: Mutex<VecDeque<Answer>>,
    default: Mutex<Answer>,
    connections: AtomicUsize,
    /// How many requests on reused connections are still to be met with a close.
    refuse_reused: AtomicUsize,
    /// Counts the calls to `close_idle`.
    idle_closed: watch::Sender<u64>,
}

impl Upstream {
    /// Starts one that echoes the caller's last message, plain or streamed, in the dialect of the
    /// path, unless scripted otherwise.
    pub async fn start() -> Self {
        Self::answering(Answer::echo()).await
    }

    /// Starts one that gives this answer to everything that the script leaves open.
    pub async fn answering(default: Answer) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback has a free port");
        let address = listener.local_addr().expect("a bound listener has an address");
        let shared = Arc::new(Shared {
            requests: Record::default(),
            script: Mutex::default(),
            default: Mutex::new(default),
            connections: AtomicUsize::new(0),
            refuse_reused: AtomicUsize::new(0),
            idle_closed: watch::Sender::new(0),
        });
        let mut server = JoinSet::new();
        server.spawn(serve(listener, shared.clone()));
        Self { address, shared, _server: server }
    }

    /// `http://127.0.0.1:PORT`: what Anthropic's `api_base` is.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// `http://127.0.0.1:PORT/v1`: what `OpenAI`'s `api_base` is.
    pub fn openai_url(&self) -> String {
        format!("http://{}/v1", self.address)
    }

    /// Adds an answer to the script: each is given once, in order of the requests.
    pub fn push(&self, answer: Answer) {
        self.shared.script.lock().expect("no test panicked here").push_back(answer);
    }

    /// Changes the answer to requests that the script leaves open.
    pub fn set_default(&self, answer: Answer) {
        *self.shared.default.lock().expect("no test panicked here") = answer;
    }

    /// Closes the connection under the next `count` requests that come on one which has served a
    /// request before: what a caller meets whose pooled connection died. They are not recorded and
    /// take nothing from the script.
    pub fn refuse_reused(&self, count: usize) {
        self.shared.refuse_reused.store(count, Ordering::SeqCst);
    }

    /// Closes every connection on which no request is running.
    pub fn close_idle(&self) {
        self.shared.idle_closed.send_modify(|count| *count += 1);
    }

    /// Every request so far, in order of arrival.
    pub fn requests(&self) -> Vec<Received> {
        self.shared.requests.all()
    }

    /// Connections accepted so far.
    pub fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::SeqCst)
    }

    /// Waits until `count` requests have come, and returns all.
    pub async fn wait_for(&self, count: usize) -> Vec<Received> {
        self.wait_until(&format!("{count} requests"), |seen| seen.len() >= count).await
    }

    /// Waits until the caller of the request with this index has gone before its answer's end.
    pub async fn wait_for_caller_gone(&self, index: usize) {
        let gone = |seen: &[Received]| {
            seen.get(index).is_some_and(|request| request.state == AnswerState::CallerGone)
        };
        self.wait_until(&format!("the caller of request {index} to leave"), gone).await;
    }

    /// Waits until `enough` of the requests, and returns all.
    pub async fn wait_until(
        &self,
        what: &str,
        enough: impl Fn(&[Received]) -> bool,
    ) -> Vec<Received> {
        self.shared.requests.wait_until(what, enough).await
    }
}

async fn serve(listener: TcpListener, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                if let Ok((stream, _)) = accepted {
                    let number = shared.connections.fetch_add(1, Ordering::SeqCst);
                    connections.spawn(serve_connection(stream, number, shared.clone()));
                }
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn serve_connection(stream: TcpStream, number: usize, shared: Arc<Shared>) {
    let mut connection = Connection::new(stream);
    let mut idle_closed = shared.idle_closed.subscribe();
    for served in 0_usize.. {
        let head = tokio::select! {
            head = connection.read_head() => head,
            _ = idle_closed.changed() => return,
        };
        let Ok(Some(head)) = head else { return };
        if served > 0 && take_one(&shared.refuse_reused) {
            return;
        }
        let rest = Rest::of(&head.headers, Rest::Bytes(0));
        let Ok(body) = connection.read_body(rest).await else { return };
        let mut words = head.first_line.split(' ').map(str::to_owned);
        let request = Received {
            method: words.next().unwrap_or_default(),
            path: words.next().unwrap_or_default(),
            headers: head.headers,
            body,
            connection: number,
            at: Instant::now(),
            state: AnswerState::Running,
        };
        // Before the record shows the request: a test that saw it may push the next answer.
        let plan = shared.next_answer().plan(&request);
        let index = shared.requests.push(request);
        let (state, next) = play(connection, plan).await;
        shared.requests.update(index, |request| request.state = state);
        let ControlFlow::Continue(kept) = next else { return };
        connection = kept;
        idle_closed.mark_unchanged();
    }
}

impl Shared {
    fn next_answer(&self) -> Answer {
        let scripted = self.script.lock().expect("no test panicked here").pop_front();
        scripted.unwrap_or_else(|| self.default.lock().expect("no test panicked here").clone())
    }
}

fn take_one(count: &AtomicUsize) -> bool {
    count.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1)).is_ok()
}

/// Writes an answer; hands the connection back if it lives on.
async fn play(
    mut connection: Connection,
    plan: Plan,
) -> (AnswerState, ControlFlow<(), Connection>) {
    let points = std::iter::once(Point::Head)
        .chain((0..=plan.chunks.len()).map(Point::Chunk))
        .chain([Point::End]);
    for point in points {
        for (at, act) in &plan.acts {
            if clamp(*at, plan.chunks.len()) != point {
                continue;
            }
            match act {
                Act::Pause(gate) => {
                    let stayed = tokio::select! {
                        () = gate.pass() => true,
                        () = connection.peer_gone() => false,
                    };
                    if !stayed {
                        return (AnswerState::CallerGone, ControlFlow::Break(()));
                    }
                }
                Act::Stall => {
                    connection.peer_gone().await;
                    return (AnswerState::CallerGone, ControlFlow::Break(()));
                }
                Act::Close => return (AnswerState::Done, ControlFlow::Break(())),
                Act::Reset => {
                    // If it fails, the peer has closed already.
                    let _ = connection.reset();
                    return (AnswerState::Done, ControlFlow::Break(()));
                }
            }
        }
        if write_part(&mut connection, &plan, point).await.is_err() {
            return (AnswerState::CallerGone, ControlFlow::Break(()));
        }
    }
    (AnswerState::Done, ControlFlow::Continue(connection))
}

fn clamp(point: Point, chunks: usize) -> Point {
    match point {
        Point::Chunk(index) => Point::Chunk(index.min(chunks)),
        other => other,
    }
}

async fn write_part(connection: &mut Connection, plan: &Plan, point: Point) -> std::io::Result<()> {
    match (point, plan.framing) {
        (Point::Head, _) => connection.write(&plan.head).await,
        (Point::Chunk(index), Framing::Chunked) => {
            // Past the last one: the empty chunk that ends the body.
            let chunk = plan.chunks.get(index).cloned().unwrap_or_default();
            connection.write_chunk(&chunk).await
        }
        (Point::Chunk(index), Framing::Length) => match plan.chunks.get(index) {
            Some(chunk) => connection.write(chunk).await,
            None => Ok(()),
        },
        (Point::End, _) => Ok(()),
    }
}
