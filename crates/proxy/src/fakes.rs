//! What this crate's tests share: a gateway with one deployment, calls to it, and a journal that
//! they hold in their hands.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use domain::{
    call::Call,
    deployment::{DeploymentFacts, Dialect},
    id::CallId,
    outbound::Outbound,
    record::{Entry, Record, Sequence},
    time::{Clock, SystemClock},
};
use http::HeaderMap;
use store::journal::{
    AppendError, BoxFuture, Commit, Health, Journal as Engine, ReadError, ReadLimit,
};
use tokio::sync::{oneshot, watch};

use crate::{
    admit::{Admitted, Request},
    config::{Config, Credential, Deployment, Limits, Routing},
    gateway::Gateway,
    route::Route,
    seal::{OpenCall, Places},
    wishes::Wishes,
};

type Done = oneshot::Sender<Result<Sequence, AppendError>>;

/// What becomes of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    Commit,
    Refuse,
    /// Refused once somebody is in a hurry.
    RefuseLater,
    /// Committed once the test says so.
    Hold,
}

/// A journal that does with each record as it is told.
pub(crate) struct Journal {
    fate: fn(&Record) -> Fate,
    held: Mutex<Vec<Done>>,
    refused: Mutex<Vec<Done>>,
    records: watch::Sender<Vec<Record>>,
}

impl Journal {
    pub(crate) fn new(fate: fn(&Record) -> Fate) -> Arc<Self> {
        let (held, refused) = (Mutex::default(), Mutex::default());
        Arc::new(Self { fate, held, refused, records: watch::Sender::new(Vec::new()) })
    }

    /// Commits what is held.
    pub(crate) fn release(&self) {
        for done in self.held.lock().unwrap().drain(..) {
            done.send(Ok(Sequence(1))).expect("somebody waits");
        }
    }

    /// Waits until so many records are such.
    pub(crate) async fn wait_for(&self, count: usize, is_it: impl Fn(&Record) -> bool) {
        let mut records = self.records.subscribe();
        let enough =
            |seen: &Vec<Record>| seen.iter().filter(|record| is_it(record)).count() >= count;
        records.wait_for(enough).await.expect("the journal lives");
    }
}

fn refuse(done: Done) {
    let reason = "the disk is full".to_owned();
    assert!(done.send(Err(AppendError::Refusing { reason })).is_ok(), "somebody waits");
}

impl Engine for Journal {
    fn append(&self, record: Record) -> Commit {
        let (done, commit) = Commit::pair();
        match (self.fate)(&record) {
            Fate::Commit => done.send(Ok(Sequence(1))).expect("the commit is held here"),
            Fate::Refuse => refuse(done),
            Fate::RefuseLater => self.refused.lock().unwrap().push(done),
            Fate::Hold => self.held.lock().unwrap().push(done),
        }
        self.records.send_modify(|records| records.push(record));
        commit
    }

    fn append_soon(&self, record: Record) -> Commit {
        self.append(record)
    }

    fn hurry(&self) {
        self.refused.lock().unwrap().drain(..).for_each(refuse);
    }

    fn head(&self) -> watch::Receiver<Sequence> {
        unreachable!("nobody reads")
    }

    fn oldest(&self) -> Sequence {
        unreachable!("nobody reads")
    }

    fn read_after(
        &self,
        _: Sequence,
        _: ReadLimit,
    ) -> BoxFuture<'_, Result<Vec<Arc<Entry>>, ReadError>> {
        unreachable!("nobody reads")
    }

    fn unsettled(&self) -> BoxFuture<'_, Result<Vec<Arc<Call>>, ReadError>> {
        unreachable!("nobody reads")
    }

    fn health(&self) -> Health {
        Health::Ready
    }
}

/// A deployment of `m` at this base URL.
pub(crate) fn deployment(base_url: &str) -> Deployment {
    let base_url = base_url.to_owned();
    Deployment {
        facts: Arc::new(DeploymentFacts {
            model_name: "m".to_owned(),
            api_base: base_url.clone(),
            dialect: Dialect::OpenAi,
            ..domain::sample::deployment()
        }),
        base_url,
        credential: Credential::None,
        extra_headers: Vec::new(),
        defaults: Vec::new(),
        timeout: None,
        stream_timeout: None,
        num_retries: None,
        order: None,
        weight: 1,
        include_usage: true,
        mock_response: None,
        rpm: None,
        tpm: None,
        max_parallel_requests: None,
    }
}

/// Asks each deployment once and has long time-outs.
pub(crate) fn config(deployments: Vec<Deployment>) -> Config {
    let minutes = Duration::from_mins(5);
    Config {
        listen: SocketAddr::from(([127, 0, 0, 1], 0)),
        master_key: None,
        keys: Vec::new(),
        global_max_parallel_requests: None,
        deployments,
        routing: Routing {
            num_retries: 0,
            timeout: minutes,
            stream_timeout: minutes,
            fallbacks: HashMap::new(),
            default_fallbacks: Vec::new(),
            context_window_fallbacks: HashMap::new(),
            content_policy_fallbacks: HashMap::new(),
            aliases: HashMap::new(),
        },
        outbound: Outbound::default(),
        limits: Limits::default(),
        allow_client_mock_response: false,
        turn_off_message_logging: false,
        drain_timeout: minutes,
    }
}

/// A gateway in which the pieces of every stream are wanted, and nobody has a budget.
pub(crate) fn gateway(config: Config, journal: Arc<dyn Engine>) -> Arc<Gateway> {
    let wants_pieces = Arc::new(|_: &Call| true);
    let budgets = Arc::new(|_: &Call| None);
    Arc::new(Gateway::new(config, journal, Arc::new(SystemClock), wants_pieces, budgets))
}

/// A chat call for `m` that was let in.
pub(crate) fn admitted(gateway: &Arc<Gateway>, stream: bool) -> Admitted {
    let arrived_at = SystemClock.now();
    let call = Arc::new(Call {
        id: CallId::new(arrived_at, [0; 10]),
        arrived_at,
        model: "m".to_owned(),
        stream,
        ..domain::sample::call()
    });
    let commit = gateway.journal.append_soon(Record::Admitted(Arc::clone(&call)));
    let body = Bytes::from(format!(r#"{{"model":"m","messages":[],"stream":{stream}}}"#));
    let scan = provider::scan::scan(&body).expect("it is JSON");
    let held = gateway.in_flight.enter().expect("no other call runs");
    let route = Route::find(gateway, &call, false, Wishes::default());
    let route = route.map_err(|failure| failure.message).expect("it has the model");
    let open = OpenCall::new(Arc::clone(gateway), call, body.clone(), held, Places::default());
    Admitted { open, request: Request { headers: HeaderMap::new(), body, scan, route }, commit }
}
