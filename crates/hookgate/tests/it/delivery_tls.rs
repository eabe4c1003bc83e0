//! TLS towards one destination, from a file and through the API: roots of its own, and a certificate
//! that the gateway shows (mTLS).

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use testkit::{Client, DEADLINE, Receiver, gateway::Setup, receiver::Arrival};

use crate::{
    delivery_world::{call, of, wait_told},
    manage::{MASTER, OPEN},
    privacy::bytes_below,
    support::BINARY,
    tls_world::{CHAIN, KEY, ROOT, guarding},
};

fn config(sections: &str) -> String {
    format!(
        "
model_list:
  - model_name: echo
    litellm_params: {{model: openai/gpt-4o, mock_response: hello}}
general_settings: {{master_key: {MASTER}}}
retry: {{initial_delay_ms: 20, max_delay_ms: 100}}
hookgate: {{ballast_bytes: 0}}
{sections}"
    )
}

/// Returns once an attempt at a destination ended in what holds this text.
async fn wait_result(client: &Client, name: &str, text: &str) {
    let until = Instant::now() + DEADLINE;
    loop {
        let page = client.get(&format!("/api/deliveries?destination={name}")).await.json();
        let rows = page["data"].as_array().cloned().unwrap_or_default();
        let result = |row: &Value| row["last_attempt"]["result"].as_str().map(str::to_owned);
        let results: Vec<_> = rows.iter().filter_map(result).collect();
        if results.iter().any(|result| result.contains(text)) {
            return;
        }
        assert!(Instant::now() < until, "{name} should say {text:?}: {results:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_destination_of_a_file_trusts_its_own_root_and_shows_its_certificate() {
    let receiver = Receiver::start().await;
    let guarded = guarding(&receiver.url()).await;
    let url = |name: &str| format!("{}hook?{name}", guarded.url("https"));
    let entries = format!(
        "
webhooks:
  shows: {{url: '{}', tls: {{ca_file: root.pem, client_certificate_file: c.pem, client_key_file: k.pem}}}}
  hides: {{url: '{}', tls: {{ca_file: root.pem}}}}
  doubts: {{url: '{}', tls: {{client_certificate_file: c.pem, client_key_file: k.pem}}}}
",
        url("shows"),
        url("hides"),
        url("doubts"),
    );
    let setup = Setup::new(BINARY, &config(&entries));
    let setup = setup.file("root.pem", ROOT).file("c.pem", CHAIN).file("k.pem", KEY);
    let gateway = setup.start().await;
    let client = gateway.client().with_key(MASTER);
    call(&client, "hello").await;
    receiver.wait_for(1).await;
    wait_result(&client, "shows", "delivered").await;
    wait_result(&client, "doubts", "UnknownIssuer").await;
    // The receiver's refusal of who shows nothing comes as an alert, or as a broken connection.
    wait_result(&client, "hides", "").await;
    let arrivals = receiver.arrivals();
    assert_eq!(of(&arrivals, "shows").len(), arrivals.len(), "nobody else got through");
    let read_back = client.get("/api/destinations/shows").await;
    assert_eq!(read_back.json()["tls"]["client_key"], "***", "{}", read_back.text());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_destination_of_the_api_brings_its_certificate_and_its_key_is_sealed() {
    let receiver = Receiver::start().await;
    let guarded = guarding(&receiver.url()).await;
    let url = format!("{}hook?made", guarded.url("https"));
    let gateway = Setup::new(BINARY, &config(OPEN)).start().await;
    let client = gateway.client().with_key(MASTER);

    let tls = json!({"ca": ROOT, "client_certificate": CHAIN, "client_key": KEY});
    let given = json!({"name": "made", "url": url, "tls": tls});
    let made = client.post("/api/destinations", &given).await;
    assert_eq!(made.code(), 201, "{}", made.text());
    let masked = json!({"ca": ROOT, "client_certificate": CHAIN, "client_key": "***"});
    assert_eq!(made.json()["tls"], masked);
    let tested = client.post("/api/destinations/made/test", &json!({})).await.json();
    assert_eq!(tested["passed"], true, "{tested}");

    // What was read may be written back; the masked key is no change.
    let path = "/api/destinations/made";
    let change = json!({"tls": masked, "privacy": true}).to_string();
    let changed = client.request("PATCH", path, change.as_bytes()).await;
    assert_eq!((changed.code(), &changed.json()["tls"]), (200, &masked), "{}", changed.text());
    let first = call(&client, "hello").await;
    wait_told(&receiver, "made", &BTreeSet::from([first])).await;

    // The key is opened again after a kill, and stands nowhere in the clear.
    let gateway = gateway.kill().await.start().await;
    let client = gateway.client().with_key(MASTER);
    let second = call(&client, "hello").await;
    wait_told(&receiver, "made", &BTreeSet::from([second])).await;
    let data = bytes_below(&gateway.setup.data_dir());
    let holds = |text: &str| data.windows(text.len()).any(|bytes| bytes == text.as_bytes());
    let line = |pem: &str| pem.lines().nth(1).map(str::to_owned).unwrap_or_default();
    assert!(holds(&line(CHAIN)), "what is public is found");
    assert!(!holds(&line(KEY)), "the key is not");

    // Without it the receiver takes nothing more.
    let change = json!({"tls": {"ca": ROOT}}).to_string();
    let changed = client.request("PATCH", path, change.as_bytes()).await;
    assert_eq!(changed.json()["tls"], json!({"ca": ROOT}), "{}", changed.text());
    let tested = client.post("/api/destinations/made/test", &json!({})).await.json();
    assert_eq!(tested["passed"], false, "{tested}");
    let is_test = |arrival: &&Arrival| arrival.header("x-test-connection").is_some();
    assert_eq!(receiver.arrivals().iter().filter(is_test).count(), 1, "the first one only");
}
