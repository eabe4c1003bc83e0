//! What the journal costs: CPU a call (an admission and an outcome), latency of the commits, bytes
//! on the disk. Run it alone on the machine: `cargo run --release -p store --example append`.
//!
//! "Building" is the same work without a journal; the other columns are by thread, so that the
//! callers' share is "callers" less "building". Arguments name the directory to write in, and one line
//! of the report to measure alone: `-- /tmp "Process 700 16"`.

#![expect(clippy::print_stdout, reason = "a report for people")]
#![expect(clippy::unwrap_used, reason = "a benchmark may die")]

use std::{
    collections::BTreeMap,
    fs,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use domain::{
    call::{Call, Caller},
    deployment::{DeploymentFacts, Dialect},
    exchange::{Exchange, Facts, Outcome, Payload, ProviderAttempt},
    id::CallId,
    record::Record,
    time::{Clock, SystemClock},
};
use store::{
    journal::Journal,
    sqlite::{Config, Durability, Store},
};
use tokio::task::JoinSet;

/// How long each line of the report is measured.
const SPAN: Duration = Duration::from_secs(3);

fn main() {
    let dir = std::env::args().nth(1).unwrap_or_else(|| "/tmp".to_owned());
    let only = std::env::args().nth(2);
    println!(
        "durability request appenders |  calls/s group | µs/call: building callers writer keeper \
         journal | commit µs p50   p99 p99.9 | bytes/call"
    );
    for (durability, request_bytes) in
        [(Durability::Process, 700), (Durability::Process, 51_000), (Durability::Power, 700)]
    {
        for appenders in [1, 16, 64] {
            let name = format!("{durability:?} {request_bytes} {appenders}");
            if only.as_ref().is_none_or(|only| *only == name) {
                measure(Path::new(&dir), durability, request_bytes, appenders);
            }
        }
    }
}

fn measure(dir: &Path, durability: Durability, request_bytes: usize, appenders: usize) {
    let dir = tempfile::tempdir_in(dir).unwrap();
    let config = Config { durability, ..Config::with_defaults(dir.path().join("data")) };
    let store = Store::open(config, Arc::new(SystemClock)).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name("callers")
        .build()
        .unwrap();
    let building = runtime.block_on(run(None, request_bytes, appenders, SPAN / 4));
    let before = cpu_by_thread();
    let began = Instant::now();
    let journaled = runtime.block_on(run(Some(store.journal()), request_bytes, appenders, SPAN));
    let elapsed = began.elapsed();
    let after = cpu_by_thread();
    let calls = journaled.len();
    let micros = |name: &str| {
        let nanos = after.get(name).unwrap_or(&0) - before.get(name).unwrap_or(&0);
        nanos as f64 / 1e3 / calls as f64
    };
    let building = building.first().map_or(0.0, |nanos| *nanos as f64 / 1e3);
    let (callers, writer, keeper) =
        (micros("callers"), micros("store-writer"), micros("store-keeper"));
    let commits = commits(&dir.path().join("data/journal"));
    store.close();
    let bytes = bytes_under(dir.path()) - (64 << 20);
    let mut latencies: Vec<u64> =
        journaled.into_iter().flat_map(|pair| [pair >> 32, pair & 0xffff_ffff]).collect();
    latencies.sort_unstable();
    let at = |share: f64| latencies[((latencies.len() - 1) as f64 * share) as usize] as f64 / 1e3;
    println!(
        "{:10} {request_bytes:7} {appenders:9} | {:8.0} {:5.1} | {building:17.1} {callers:7.1} \
         {writer:6.1} {keeper:6.1} {:7.1} | {:10.0} {:7.0} {:7.0} | {:6.0}",
        format!("{durability:?}"),
        calls as f64 / elapsed.as_secs_f64(),
        2.0 * calls as f64 / commits as f64,
        callers - building + writer + keeper,
        at(0.5),
        at(0.99),
        at(0.999),
        bytes as f64 / calls as f64,
    );
}

/// Appends calls for a while. Returns both commits' nanoseconds of each call, packed; or, without
/// a journal, the CPU nanoseconds that building one call's records takes.
async fn run(
    journal: Option<Arc<dyn Journal>>,
    request_bytes: usize,
    appenders: usize,
    span: Duration,
) -> Vec<u64> {
    let request = Bytes::from(vec![b'x'; request_bytes]);
    let response = Bytes::from(vec![b'y'; 800]);
    let Some(journal) = journal else {
        let began = Instant::now();
        let mut count = 0;
        while began.elapsed() < span {
            let call = call(count);
            std::hint::black_box(Record::Admitted(Arc::new(call.clone())));
            std::hint::black_box(seal(call, &request, &response));
            count += 1;
        }
        return vec![began.elapsed().as_nanos() as u64 / count];
    };
    let mut tasks = JoinSet::new();
    for appender in 0..appenders as u64 {
        let journal = Arc::clone(&journal);
        let (request, response) = (request.clone(), response.clone());
        tasks.spawn(async move {
            let mut latencies = Vec::new();
            let began = Instant::now();
            let mut number = appender << 40;
            while began.elapsed() < span {
                number += 1;
                let call = call(number);
                let admitted = Record::Admitted(Arc::new(call.clone()));
                let at = Instant::now();
                journal.append(admitted).await.unwrap();
                let first = at.elapsed();
                let sealed = seal(call, &request, &response);
                let at = Instant::now();
                journal.append(sealed).await.unwrap();
                let second = at.elapsed();
                latencies.push((first.as_nanos() as u64) << 32 | second.as_nanos() as u64);
            }
            latencies
        });
    }
    tasks.join_all().await.into_iter().flatten().collect()
}

fn call(number: u64) -> Call {
    let mut random = [0; 10];
    random[2..].copy_from_slice(&number.to_be_bytes());
    let arrived_at = SystemClock.now();
    let header = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    Call {
        id: CallId::new(arrived_at, random),
        arrived_at,
        model: "gpt-4o-mini".to_owned(),
        caller: Caller::Master,
        client_ip: Some([127, 0, 0, 1].into()),
        headers: vec![
            header("host", "127.0.0.1:4000"),
            header("content-type", "application/json"),
            header("user-agent", "OpenAI/Python 2.8.0"),
            header("accept", "application/json"),
        ],
        ..domain::sample::call()
    }
}

fn seal(call: Call, request: &Bytes, response: &Bytes) -> Record {
    let at = call.arrived_at;
    let deployment = DeploymentFacts {
        id: "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08".to_owned(),
        model_name: "gpt-4o-mini".to_owned(),
        provider: "openai".to_owned(),
        model: "gpt-4o-mini".to_owned(),
        api_base: "http://127.0.0.1:9000/v1".to_owned(),
        dialect: Dialect::OpenAi,
        prices: None,
    };
    let attempt = ProviderAttempt {
        deployment: Arc::new(deployment),
        started_at: at,
        finished_at: at,
        status: Some(200),
        headers: vec![("x-request-id".to_owned(), "req_0123456789abcdef".to_owned())],
        failure: None,
    };
    Record::Sealed(Arc::new(Exchange {
        facts: Facts {
            call: Arc::new(call),
            attempts: vec![attempt],
            outcome: Outcome::Completed,
            first_byte_at: Some(at),
            finished_at: at,
            response_is_stream: false,
            retries: 0,
            fallbacks: 0,
        },
        request: Payload::whole(request.clone()),
        response: Payload::whole(response.clone()),
    }))
}

/// Nanoseconds on a CPU, by the threads' names.
fn cpu_by_thread() -> BTreeMap<String, u64> {
    let mut cpu = BTreeMap::new();
    for task in fs::read_dir("/proc/self/task").unwrap() {
        let task = task.unwrap().path();
        let name = fs::read_to_string(task.join("comm")).unwrap();
        let stat = fs::read_to_string(task.join("schedstat")).unwrap();
        let nanos: u64 = stat.split(' ').next().unwrap().parse().unwrap();
        *cpu.entry(name.trim().to_owned()).or_default() += nanos;
    }
    cpu
}

fn commits(journal: &Path) -> i64 {
    let mut commits = 0;
    for file in fs::read_dir(journal).unwrap() {
        let path = file.unwrap().path();
        if path.extension().is_some_and(|suffix| suffix == "db")
            && path.to_str().unwrap().contains("0000")
        {
            let db = rusqlite::Connection::open(path).unwrap();
            commits += db
                .query_row("SELECT count(*) FROM blocks", [], |row| row.get::<_, i64>(0))
                .unwrap();
        }
    }
    commits
}

fn bytes_under(path: &Path) -> u64 {
    fs::read_dir(path)
        .unwrap()
        .map(|file| {
            let file = file.unwrap();
            let metadata = file.metadata().unwrap();
            if metadata.is_dir() { bytes_under(&file.path()) } else { metadata.len() }
        })
        .sum()
}
