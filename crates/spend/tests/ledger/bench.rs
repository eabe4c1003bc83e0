//! A store, calls with a price, and ledgers over them.

use std::{
    sync::{
        Arc, LazyLock,
        atomic::{AtomicU16, Ordering},
    },
    time::Duration,
};

use domain::{
    budget::{Budget, BudgetScope},
    call::Call,
    deployment::{CustomPrices, DeploymentFacts},
    exchange::{Exchange, Facts, Payload, ProviderAttempt},
    id::CallId,
    note::{News, Note},
    record::{Entry, Record, Sequence},
    sample::{NOW, attempt, deployment, facts},
};
use provider::price::Prices;
use spend::Ledger;
use store::{
    conformance::{HandClock, journal::ALL},
    sqlite::{Config, Store},
    state::Spending,
};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use crate::fuse::Fuse;

/// Decoding the price data takes longer than a test.
static PRICES: LazyLock<Arc<Prices>> = LazyLock::new(|| Arc::new(Prices::new()));

/// A store, calls with a price, and ledgers over them.
pub(crate) struct Bench {
    pub(crate) clock: Arc<HandClock>,
    pub(crate) budgets: Vec<Budget>,
    calls: AtomicU16,
    barriers: AtomicU16,
    store: Store,
    _dir: TempDir,
}

/// A budget with seed 002's thresholds that never begins anew.
pub(crate) fn budget(scope: BudgetScope, max_budget: f64) -> Budget {
    Budget {
        scope,
        matches: "*".to_owned(),
        max_budget,
        duration: None,
        thresholds: vec![50.0, 80.0, 95.0, 100.0],
    }
}

/// The outcome of a call that cost so much, at the time of its arrival.
pub(crate) fn sealed(call: &Call, dollars: f64) -> Exchange {
    let prices = CustomPrices {
        input_cost_per_token: Some(dollars / 10.0),
        output_cost_per_token: Some(0.0),
        ..CustomPrices::default()
    };
    let deployment = Arc::new(DeploymentFacts { prices: Some(prices), ..deployment() });
    let answer = br#"{"id":"c","object":"chat.completion","choices":[],
        "usage":{"prompt_tokens":10,"completion_tokens":1,"total_tokens":11}}"#;
    Exchange {
        facts: Facts {
            attempts: vec![ProviderAttempt { deployment, ..attempt() }],
            finished_at: call.arrived_at,
            ..facts(call.clone())
        },
        request: Payload::default(),
        response: Payload::whole(bytes::Bytes::from_static(answer)),
    }
}

impl Bench {
    pub(crate) fn new(budgets: Vec<Budget>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let clock = Arc::new(HandClock::at(NOW));
        let config = Config { ballast_bytes: 0, ..Config::with_defaults(dir.path().join("data")) };
        let store = Store::open(config, clock.clone()).unwrap();
        Self {
            clock,
            budgets,
            calls: AtomicU16::new(0),
            barriers: AtomicU16::new(0),
            store,
            _dir: dir,
        }
    }

    pub(crate) fn spending(&self) -> Arc<dyn Spending> {
        self.store.spending()
    }

    /// A ledger as a new process has it.
    pub(crate) fn ledger(&self) -> Ledger {
        self.ledger_through(&Fuse::none())
    }

    /// A ledger whose every step goes through a fuse.
    pub(crate) fn ledger_through(&self, fuse: &Fuse) -> Ledger {
        Ledger::new(
            self.budgets.clone(),
            "acme".to_owned(),
            fuse.journal(self.store.journal()),
            fuse.spending(self.store.spending()),
            self.clock.clone(),
            Arc::clone(&PRICES),
        )
    }

    /// The call, with an id of its own.
    pub(crate) fn numbered(&self, call: &Call) -> Call {
        let number = self.calls.fetch_add(1, Ordering::Relaxed);
        let mut random = [0; 10];
        random[8..].copy_from_slice(&number.to_be_bytes());
        Call { id: CallId::new(NOW, random), ..call.clone() }
    }

    /// Lets a call come and go that costs so much.
    pub(crate) async fn spend(&self, call: &Call, dollars: f64) {
        self.append_call(sealed(&self.numbered(call), dollars)).await;
    }

    pub(crate) async fn append_call(&self, exchange: Exchange) {
        let journal = self.store.journal();
        journal.append(Record::Admitted(Arc::clone(&exchange.facts.call))).await.unwrap();
        journal.append(Record::Sealed(Arc::new(exchange))).await.unwrap();
    }

    /// Runs a ledger until it has done everything.
    pub(crate) async fn run(&self, fuse: &Fuse) {
        self.finish(self.ledger_through(fuse), fuse).await;
    }

    /// Lets a ledger run until it has done everything, or its fuse blew.
    pub(crate) async fn finish(&self, ledger: Ledger, fuse: &Fuse) {
        let stop = CancellationToken::new();
        let watch = async {
            while !fuse.is_blown() && !self.is_done().await {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            stop.cancel();
        };
        tokio::join!(ledger.run(stop.clone()), watch);
    }

    /// Returns once everything that was queued is committed, as it is when a process is dead.
    pub(crate) async fn calm(&self) {
        let number = self.barriers.fetch_add(1, Ordering::Relaxed);
        let mut random = [1; 10];
        random[8..].copy_from_slice(&number.to_be_bytes());
        let call = Call { id: CallId::new(NOW, random), ..domain::sample::call() };
        self.store.journal().append(Record::Admitted(Arc::new(call))).await.unwrap();
    }

    async fn is_done(&self) -> bool {
        let spent = self.spending().load().await.unwrap();
        let head = *self.store.journal().head().borrow();
        spent.cursor == Some(head) && spent.pending.is_empty()
    }

    pub(crate) async fn entries(&self) -> Vec<Arc<Entry>> {
        self.store.journal().read_after(Sequence(0), ALL).await.unwrap()
    }

    /// The notes in the journal.
    pub(crate) async fn notes(&self) -> Vec<Arc<Note>> {
        let noted = |entry: Arc<Entry>| match &entry.record {
            Record::Noted(note) => Some(Arc::clone(note)),
            _ => None,
        };
        self.entries().await.into_iter().filter_map(noted).collect()
    }

    /// The thresholds of a value that stand in the journal, rising.
    pub(crate) async fn told(&self, matched: &str) -> Vec<f64> {
        let threshold = |note: &Arc<Note>| match &note.news {
            News::BudgetReached(reached) => {
                (reached.matched == matched).then_some(reached.threshold)
            }
            _ => None,
        };
        let mut told: Vec<_> = self.notes().await.iter().filter_map(threshold).collect();
        told.sort_by(f64::total_cmp);
        told
    }

    /// What a value spent, in billionths of a dollar.
    pub(crate) async fn spent(&self, matched: &str) -> i64 {
        let spent = self.spending().load().await.unwrap();
        let rows = spent.rows.iter().filter(|row| row.key.matched == matched);
        rows.map(|row| row.spent_nanodollars).sum()
    }
}
