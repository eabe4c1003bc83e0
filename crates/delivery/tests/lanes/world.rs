//! A store in a directory of its own, a service on it, calls, and a clock that can be turned on.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use delivery::{
    Control, Service, Stores,
    config::Config,
    control::{LaneStatus, StartFrom},
    send::Sender,
};
use domain::{
    call::Call,
    delivery::{Attempt, DeadLetter},
    destination::{Destination, RetryPolicy},
    event::EventType,
    exchange::{Exchange, Payload},
    id::{CallId, DestinationName},
    record::{Entry, Record, Sequence},
    sample,
    time::{Clock, SystemClock, Timestamp},
};
use store::{
    journal::{BoxFuture, Commit, Health, Journal, ReadError, ReadLimit},
    lanes::DeliveryQuery,
    sqlite::{self, Store},
};
use tempfile::TempDir;
use testkit::{DEADLINE, Receiver, receiver::Arrival};
use tokio::{sync::watch, task::JoinSet};
use tokio_util::sync::CancellationToken;

/// The machine's clock, ahead by as much as a test wants.
#[derive(Debug, Default)]
pub(crate) struct TestClock(AtomicI64);

impl TestClock {
    pub(crate) fn advance(&self, by: Duration) {
        self.0.fetch_add(i64::try_from(by.as_nanos()).unwrap(), Ordering::SeqCst);
    }

    pub(crate) fn set_back(&self, by: Duration) {
        self.0.fetch_sub(i64::try_from(by.as_nanos()).unwrap(), Ordering::SeqCst);
    }
}

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_nanos(SystemClock.now().as_nanos() + self.0.load(Ordering::SeqCst))
    }
}

/// The store's journal, which a test may let fail, once, to be read.
pub(crate) struct Flaky {
    journal: Arc<dyn Journal>,
    pub(crate) fails: AtomicBool,
}

impl Journal for Flaky {
    fn append(&self, record: Record) -> Commit {
        self.journal.append(record)
    }

    fn append_soon(&self, record: Record) -> Commit {
        self.journal.append_soon(record)
    }

    fn hurry(&self) {
        self.journal.hurry();
    }

    fn head(&self) -> watch::Receiver<Sequence> {
        self.journal.head()
    }

    fn oldest(&self) -> Sequence {
        self.journal.oldest()
    }

    fn read_after(
        &self,
        cursor: Sequence,
        limit: ReadLimit,
    ) -> BoxFuture<'_, Result<Vec<Arc<Entry>>, ReadError>> {
        if self.fails.swap(false, Ordering::SeqCst) {
            return Box::pin(async { Err(ReadError::Engine("the disk failed".into())) });
        }
        self.journal.read_after(cursor, limit)
    }

    fn unsettled(&self) -> BoxFuture<'_, Result<Vec<Arc<Call>>, ReadError>> {
        self.journal.unsettled()
    }

    fn health(&self) -> Health {
        self.journal.health()
    }
}

pub(crate) struct World {
    directory: TempDir,
    pub(crate) store: Store,
    pub(crate) journal: Arc<Flaky>,
    pub(crate) clock: Arc<TestClock>,
    pub(crate) control: Control,
    pub(crate) settle_timeout: Duration,
    stop: CancellationToken,
    service: JoinSet<()>,
    calls: u8,
}

impl World {
    pub(crate) async fn new(destinations: Vec<Destination>) -> Self {
        Self::with_settle_timeout(destinations, DEADLINE).await
    }

    pub(crate) async fn with_settle_timeout(
        destinations: Vec<Destination>,
        settle_timeout: Duration,
    ) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let clock = Arc::new(TestClock::default());
        let store = open(&directory, &clock);
        let stop = CancellationToken::new();
        let journal = Arc::new(Flaky { journal: store.journal(), fails: AtomicBool::new(false) });
        let stores = (&store, Arc::clone(&journal) as Arc<dyn Journal>);
        let (control, service) = start(stores, destinations, &clock, settle_timeout, &stop).await;
        Self { directory, store, journal, clock, control, settle_timeout, stop, service, calls: 0 }
    }

    /// Stops and starts again, with these destinations from the file.
    pub(crate) async fn restart(self, destinations: Vec<Destination>) -> Self {
        let Self { directory, store, clock, settle_timeout, stop, mut service, calls, .. } = self;
        stop.cancel();
        service.join_next().await.unwrap().unwrap();
        store.close();
        let store = open(&directory, &clock);
        let stop = CancellationToken::new();
        let journal = Arc::new(Flaky { journal: store.journal(), fails: AtomicBool::new(false) });
        let stores = (&store, Arc::clone(&journal) as Arc<dyn Journal>);
        let (control, service) = start(stores, destinations, &clock, settle_timeout, &stop).await;
        Self { directory, store, journal, clock, control, settle_timeout, stop, service, calls }
    }

    /// So many calls that completed; returns their request ids, in order.
    pub(crate) async fn calls(&mut self, count: usize) -> Vec<String> {
        let mut ids = Vec::new();
        for _ in 0..count {
            self.calls += 1;
            ids.push(self.call(&format!("text of call {}", self.calls)).await);
        }
        ids
    }

    /// One call whose answer is `text`.
    pub(crate) async fn call(&mut self, text: &str) -> String {
        self.calls = self.calls.wrapping_add(1);
        let mut random = [0; 10];
        random[9] = self.calls;
        let id = CallId::new(self.clock.now(), random);
        let call = domain::call::Call { id, ..sample::call() };
        let answer = format!(
            r#"{{"id":"chatcmpl-1","object":"chat.completion","created":1700000000,
                "model":"gpt-4o","choices":[{{"index":0,"finish_reason":"stop",
                "message":{{"role":"assistant","content":"{text}"}}}}]}}"#
        );
        let request = r#"{"model":"smart","messages":[{"role":"user","content":"hi"}]}"#;
        let exchange = Exchange {
            facts: sample::facts(call.clone()),
            request: Payload::whole(Bytes::from_static(request.as_bytes())),
            response: Payload::whole(answer.into()),
        };
        let journal = self.store.journal();
        journal.append(Record::Admitted(Arc::new(call))).await.unwrap();
        let sequence = journal.append(Record::Sealed(Arc::new(exchange))).await.unwrap();
        // The head is told after those who wait for their commits.
        journal.head().wait_for(|head| *head >= sequence).await.unwrap();
        id.to_request_id()
    }

    pub(crate) fn head(&self) -> Sequence {
        *self.store.journal().head().borrow()
    }

    pub(crate) fn put(&self, destination: Destination, from: StartFrom) {
        self.control.put(destination, from);
    }

    pub(crate) fn status(&self, lane: &str) -> LaneStatus {
        self.control.get(&name(lane)).unwrap()
    }

    /// Waits until a lane stands so.
    pub(crate) async fn wait_status(&self, lane: &str, is_so: impl Fn(&LaneStatus) -> bool) {
        let waited = tokio::time::timeout(DEADLINE, async {
            while !self.control.get(&name(lane)).is_some_and(|status| is_so(&status)) {
                tokio::task::yield_now().await;
            }
        });
        assert!(waited.await.is_ok(), "{:?}", self.control.get(&name(lane)));
    }

    /// Waits until a lane has settled everything.
    pub(crate) async fn wait_settled(&self, lane: &str) {
        let head = self.head();
        self.wait_status(lane, |status| status.cursor >= head).await;
    }

    /// Waits until a lane has settled everything; its receiver must have been told of each of these
    /// once, and of nothing else.
    pub(crate) async fn expect_told_once(&self, receiver: &Receiver, lane: &str, ids: &[String]) {
        wait_told(receiver, lane, ids).await;
        self.wait_settled(lane).await;
        let mut told = told(&receiver.arrivals(), lane);
        told.sort();
        assert_eq!(told, ids);
    }

    /// The dead letters, once there are so many.
    pub(crate) async fn letters(&self, count: usize) -> Vec<DeadLetter> {
        let lanes = self.store.lanes();
        let waited = tokio::time::timeout(DEADLINE, async {
            loop {
                let letters = lanes.dead_letters(None, 100).await.unwrap();
                if letters.len() >= count {
                    break letters;
                }
                tokio::task::yield_now().await;
            }
        });
        let letters = waited.await.expect("there are dead letters in time");
        assert_eq!(letters.len(), count, "{letters:#?}");
        letters
    }

    /// The attempts at the deliveries of a lane that are stored, newest delivery first.
    pub(crate) async fn attempts(&self, lane: &str, count: usize) -> Vec<Attempt> {
        let lanes = self.store.lanes();
        let query =
            DeliveryQuery { lanes: vec![name(lane)], limit: 100, ..DeliveryQuery::default() };
        let waited = tokio::time::timeout(DEADLINE, async {
            loop {
                let mut attempts = Vec::new();
                for row in lanes.deliveries(query.clone()).await.unwrap() {
                    let detail = lanes.delivery(&row.destination, &row.id).await.unwrap();
                    attempts.extend(detail.unwrap().attempts);
                }
                if attempts.len() >= count {
                    break attempts;
                }
                tokio::task::yield_now().await;
            }
        });
        waited.await.expect("there are attempts in time")
    }
}

fn open(directory: &TempDir, clock: &Arc<TestClock>) -> Store {
    let config = sqlite::Config {
        ballast_bytes: 0,
        // Longer than any of these outages.
        retention: Duration::from_hours(10_000),
        ..sqlite::Config::with_defaults(directory.path().join("data"))
    };
    Store::open(config, Arc::clone(clock) as Arc<dyn Clock>).unwrap()
}

async fn start(
    (store, journal): (&Store, Arc<dyn Journal>),
    destinations: Vec<Destination>,
    clock: &Arc<TestClock>,
    settle_timeout: Duration,
    stop: &CancellationToken,
) -> (Control, JoinSet<()>) {
    let config = Config {
        settle_timeout,
        unstored_max: 8,
        events_cached_max: 100,
        disable_after: Some(Duration::from_hours(120)),
    };
    let service = Service::new(
        config,
        destinations,
        Stores {
            journal,
            lanes: store.lanes(),
            switches: store.switches(),
            destinations: store.destinations(),
        },
        Sender::new().unwrap(),
        Arc::clone(clock) as Arc<dyn Clock>,
    );
    service.register().await.unwrap();
    let control = service.control();
    let mut set = JoinSet::new();
    set.spawn(service.run(stop.clone()));
    (control, set)
}

pub(crate) fn name(text: &str) -> DestinationName {
    DestinationName::new(text)
}

/// A destination at a receiver, told apart by its name in the query. It wants completions and tries
/// five times, soon.
pub(crate) fn destination(text: &str, receiver: &Receiver) -> Destination {
    Destination {
        name: name(text),
        url: format!("{}?{text}", receiver.url()),
        event_types: vec![EventType::Completion],
        retry: RetryPolicy {
            max_attempts: 5,
            initial_delay: Duration::from_millis(10),
            multiplier: 2.0,
            max_delay: Duration::from_millis(50),
            retry_after_max: Duration::from_hours(1),
            retryable_status_codes: vec![408, 429, 500, 502, 503],
        },
        concurrent_deliveries: 4,
        queue_size: 1_000,
        allow_private: true,
        ..sample::destination()
    }
}

/// The request ids that were accepted for one destination, in order of arrival.
pub(crate) fn told(arrivals: &[Arrival], of: &str) -> Vec<String> {
    let query = format!("?{of}");
    let accepted = arrivals.iter().filter(|a| a.is_accepted() && a.path.ends_with(&query));
    let items = accepted.flat_map(Arrival::items);
    items.filter_map(|item| item["request_id"].as_str().map(str::to_owned)).collect()
}

/// Waits until a destination was told of all of these.
pub(crate) async fn wait_told(receiver: &Receiver, of: &str, ids: &[String]) {
    let has_all = |seen: &[Arrival]| {
        let told: BTreeSet<_> = told(seen, of).into_iter().collect();
        ids.iter().all(|id| told.contains(id))
    };
    receiver.wait_until(&format!("{of} to be told of {} calls", ids.len()), has_all).await;
}

/// Events of one type that were accepted.
pub(crate) fn events(arrivals: &[Arrival], kind: &str) -> Vec<serde_json::Value> {
    let accepted = arrivals.iter().filter(|arrival| arrival.is_accepted());
    accepted.flat_map(Arrival::items).filter(|item| item["event"] == kind).collect()
}

/// Waits for an event of a type.
pub(crate) async fn wait_event(receiver: &Receiver, kind: &str) -> serde_json::Value {
    let is_there = |seen: &[Arrival]| !events(seen, kind).is_empty();
    let arrivals = receiver.wait_until(kind, is_there).await;
    events(&arrivals, kind).remove(0)
}
