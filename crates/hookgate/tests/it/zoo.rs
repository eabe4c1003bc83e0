//! A good receiver beside every kind of bad one: it gets everything as if it were alone, memory
//! stays within its bound, and each bad one's attempts say what happened.

use std::{
    collections::BTreeSet,
    sync::Arc,
    time::{Duration, Instant},
};

use rustls::{
    ServerConfig,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};
use serde_json::Value;
use testkit::{
    Client, DEADLINE, Gateway, Receiver,
    gateway::Setup,
    zoo::{Beast, Cage},
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::{
    delivery_world::{call, expect_told_once, of, wait_told},
    manage::MASTER,
    support::BINARY,
};

/// What a bad receiver can hold an attempt for.
const TIMEOUT: Duration = Duration::from_secs(8);
const CALLS: usize = 200;
/// Sixteen bad lanes with ten attempts each, and a head and a start of a body of 64 KiB for each
/// attempt, come to 20 MiB; the rest is for connections and what is read ahead.
const GROWTH_BYTES_MAX: u64 = 64 << 20;

const UNKNOWN: (&[u8], &[u8]) = (
    include_bytes!("../../../delivery/tests/data/receiver.pem"),
    include_bytes!("../../../delivery/tests/data/receiver.key.pem"),
);
const EXPIRED: (&[u8], &[u8]) = (
    include_bytes!("../../../delivery/tests/data/expired.pem"),
    include_bytes!("../../../delivery/tests/data/expired.key.pem"),
);
const ROOT: &str = include_str!("../../../delivery/tests/data/other-root.pem");

/// A bad receiver, its URL, and what `/api/deliveries` says of an attempt.
struct Bad {
    name: String,
    cage: Cage,
    scheme: &'static str,
    settings: &'static str,
    says: &'static str,
}

/// What an attempt at it has in its result and the start of the answer: of no two the same.
const fn says(beast: Beast) -> &'static str {
    match beast {
        Beast::NeverAccepts => "no connection before the deadline",
        Beast::NeverReads => "connected, but no answer before the deadline",
        Beast::DripsHead => "the answer's head did not end before the deadline",
        Beast::FloodsProvisional => "more than 256 KiB in answer to one request",
        // What a receiver says with a 200 is not waited for, nor unpacked: it has the event.
        Beast::DripsBody => "delivered: .",
        Beast::EndlessBody => "delivered: xxxxxxxxxxxxxxxx",
        Beast::GzipBomb => "delivered: \\u{1f}\u{fffd}\\u{8}",
        Beast::Resets => "connection broke before an answer",
        Beast::ResetsMidBody => "status 503: part",
        Beast::HugeHead => "answer is not one of HTTP: message head is too large",
        Beast::Garbage => "answer is not one of HTTP: invalid HTTP",
        Beast::Redirects => "redirects are not followed (to http://",
        Beast::Fails => "status 500: oops",
    }
}

async fn tls((chain, key): (&[u8], &[u8])) -> Cage {
    let config = ServerConfig::builder_with_provider(aws_lc_rs::default_provider().into())
        .with_safe_default_protocol_versions()
        .expect("the provider has them")
        .with_no_client_auth()
        .with_single_cert(
            vec![CertificateDer::from_pem_slice(chain).expect("it is one")],
            PrivateKeyDer::from_pem_slice(key).expect("it is one"),
        )
        .expect("they belong together");
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    Cage::start(move |stream| {
        let acceptor = acceptor.clone();
        async move {
            let Ok(mut stream) = acceptor.accept(stream).await else { return };
            let _ = stream.read(&mut [0; 1024]).await;
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
        }
    })
    .await
}

async fn all_bad() -> Vec<Bad> {
    let mut all = Vec::new();
    for beast in Beast::ALL {
        let (name, cage) = (format!("{beast:?}"), beast.start().await);
        all.push(Bad { name, cage, scheme: "http", settings: "", says: says(beast) });
    }
    let trusting = ", tls: {ca_file: root.pem}";
    let plain = Beast::Fails.start().await;
    let kinds = [
        ("UnknownTls", tls(UNKNOWN).await, "", "UnknownIssuer"),
        ("ExpiredTls", tls(EXPIRED).await, trusting, "expired"),
        ("PlainOnTlsPort", plain, "", "TLS failed: received corrupt message"),
    ];
    all.extend(kinds.map(|(name, cage, settings, says)| Bad {
        name: name.to_owned(),
        cage,
        scheme: "https",
        settings,
        says,
    }));
    all
}

async fn start(good: &Receiver, all_bad: &[Bad]) -> Gateway {
    let entry = |Bad { name, cage, scheme, settings, .. }: &Bad| {
        format!("  {name}: {{url: '{}'{settings}}}\n", cage.url(scheme))
    };
    let bad = all_bad.iter().map(entry).collect::<Vec<_>>().concat();
    let config = format!(
        "
model_list:
  - model_name: echo
    litellm_params: {{model: openai/gpt-4o, mock_response: hello}}
general_settings: {{master_key: {MASTER}}}
webhooks:
  good: {{url: '{}?good'}}
{bad}
events: {{subscribe: [completion, error]}}
delivery: {{timeout_ms: {}, settle_ms: 100}}
retry: {{initial_delay_ms: 100, max_delay_ms: 1000}}
hookgate: {{ballast_bytes: 0}}
",
        good.url(),
        TIMEOUT.as_millis(),
    );
    Setup::new(BINARY, &config).file("root.pem", ROOT).start().await
}

/// Whether an attempt at it says what it should; `seen` is what all say.
async fn find_attempt(client: &Client, bad: &Bad, seen: &mut Vec<String>) -> bool {
    let path = format!("/api/deliveries?destination={}&limit=100", bad.name);
    let page = client.get(&path).await;
    assert_eq!(page.code(), 200, "{}", page.text());
    let page = page.json();
    let rows = page["data"].as_array().cloned().unwrap_or_default();
    let says = |row: &Value| {
        let attempt = &row["last_attempt"];
        Some(format!("{}: {}", attempt["result"].as_str()?, attempt["answer_start"].as_str()?))
    };
    *seen = rows.iter().filter_map(says).collect();
    seen.iter().any(|result| result.contains(bad.says))
}

async fn many_calls(client: &Client) -> BTreeSet<String> {
    let mut ids = BTreeSet::new();
    for _ in 0..CALLS {
        // What the mock answers.
        ids.insert(call(client, "hello").await);
    }
    ids
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn among_bad_receivers_a_good_one_gets_everything_at_once() {
    let (good, all_bad) = (Receiver::start().await, all_bad().await);
    let texts: BTreeSet<_> = all_bad.iter().map(|bad| bad.says).collect();
    assert_eq!(texts.len(), all_bad.len(), "each is told by a text of its own");
    let gateway = start(&good, &all_bad).await;
    let client = gateway.client().with_key(MASTER);
    let before = gateway.resident_bytes();
    let begun = Instant::now();
    let ids = many_calls(&client).await;
    wait_told(&good, "good", &ids).await;
    let took = begun.elapsed();
    // So nothing that it got waited for an attempt at a bad one to end.
    assert!(took < TIMEOUT, "the good one has everything after {took:?}");
    let mut most = gateway.resident_bytes();

    let until = Instant::now() + DEADLINE;
    for bad in &all_bad {
        let mut seen = Vec::new();
        while !find_attempt(&client, bad, &mut seen).await {
            let Bad { name, says, .. } = bad;
            assert!(Instant::now() < until, "{name} should say {says:?}: {seen:?}");
            most = most.max(gateway.resident_bytes());
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
    for bad in all_bad.iter().filter(|bad| bad.name != "NeverAccepts") {
        assert!(bad.cage.connections() > 0, "{} was tried", bad.name);
    }
    most = most.max(gateway.resident_bytes());
    let growth = most.saturating_sub(before);
    assert!(growth < GROWTH_BYTES_MAX, "{before} bytes became {most}");
    let stopped = gateway.terminate().await;
    assert!(stopped.status.success(), "{:#?}", stopped.log());
    expect_told_once(&good, "good", &ids);
    assert_eq!(of(&good.arrivals(), "good").len(), CALLS);
}
