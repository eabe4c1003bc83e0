//! Destinations that are taken out of the configuration file: what they leave behind is told, kept
//! until somebody decides, and sent nowhere meanwhile.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use testkit::{Gateway, Receiver, Reply, Upstream, gateway::Stopped};

use crate::delivery_world::{
    OUTCOMES, call, config, dead_letters, start, wait_letters, wait_told, webhook, webhooks,
};
use crate::manage::OPEN;

/// What waits, waits for a minute or so; what is refused is given up once others pass.
const RETRY: &str = "retry: {max_attempts: 9, initial_delay_ms: 60000, max_delay_ms: 60000}\n";

struct World {
    upstream: Upstream,
    receiver: Receiver,
}

impl World {
    fn config(&self, names: &[&str]) -> String {
        let entries: Vec<_> = names.iter().map(|name| webhook(name, &self.receiver, "")).collect();
        config(&self.upstream, &sections(&entries))
    }

    /// A gateway with the destinations `old` and `kept`, of which each has a delivery that waits and
    /// a dead letter.
    async fn begin() -> (Self, Gateway) {
        let world = Self { upstream: Upstream::start().await, receiver: Receiver::start().await };
        let entries = ["old", "kept"].map(|name| webhook(name, &world.receiver, ""));
        let gateway = start(&world.upstream, &sections(&entries)).await;
        world.receiver.answer_to("\"content\":\"poison\"", Reply::status(400));
        world.receiver.answer_to("\"content\":\"later\"", Reply::status(503));
        let client = gateway.client();
        for text in ["poison", "later"] {
            call(&client, text).await;
        }
        gateway.wait_for_log_lines("An attempt failed. destination=old", 2).await;
        gateway.wait_for_log_lines("An attempt failed. destination=kept", 2).await;
        let passes = BTreeSet::from([call(&client, "passes").await]);
        for name in ["old", "kept"] {
            wait_told(&world.receiver, name, &passes).await;
        }
        wait_letters(&gateway.setup, 2).await;
        world.receiver.answer_alike();
        (world, gateway)
    }

    /// Ends the gateway, and starts it with these destinations in its file.
    async fn restart_with(&self, gateway: Gateway, names: &[&str]) -> Gateway {
        let stopped: Stopped = gateway.terminate().await;
        stopped.setup.write_file("config.yaml", &self.config(names));
        stopped.start().await
    }
}

fn sections(entries: &[String]) -> String {
    format!("{}{OUTCOMES}{RETRY}", webhooks(entries))
}

async fn get(gateway: &Gateway, path: &str) -> Value {
    let seen = gateway.client().get(path).await;
    assert_eq!(seen.code(), 200, "{path}: {}", seen.text());
    seen.json()
}

fn error(seen: &testkit::client::Seen) -> String {
    seen.json()["error"]["message"].as_str().unwrap_or_default().to_owned()
}

/// What the command answers, whether it succeeds or not.
async fn command(gateway: &Gateway, args: &[&str]) -> (bool, String) {
    let data = gateway.setup.data_dir();
    let data = data.to_str().expect("its name is text");
    let args = [&["dead-letters", "--data-dir", data], args].concat();
    let output = gateway.setup.command(&args).output().await.expect("the binary was built");
    let said = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&said).into_owned())
}

const ANNOUNCED: &str = "is not in the configuration any more";

#[tokio::test]
async fn a_destination_taken_out_of_the_file_is_announced_until_it_is_deleted() {
    let (world, gateway) = World::begin().await;
    let client = gateway.client();
    let replay = client.post("/api/replays", &json!({"destination": "old", "from": 1})).await;
    let replay = replay.json()["id"].as_str().expect("it was begun").to_owned();
    let gateway = world.restart_with(gateway, &["kept"]).await;
    let line = gateway.wait_for_log(ANNOUNCED).await;
    assert!(line.contains("destination=old waiting=1 dead_letters=1 lag="), "{line}");
    assert!(line.contains("DELETE /api/destinations/old"), "{line}");

    let client = gateway.client();
    let all = get(&gateway, "/api/destinations").await;
    let states: Vec<_> = all["data"].as_array().into_iter().flatten().collect();
    let state = |row: &&Value| (row["name"].clone(), row["status"]["state"].clone());
    let states: Vec<_> = states.iter().map(state).collect();
    let expected = [("kept", "active"), ("old", "removed")].map(|(n, s)| (json!(n), json!(s)));
    assert_eq!(states, expected, "{all:#}");
    let old = get(&gateway, "/api/destinations/old").await;
    assert_eq!(old, all["data"][1]);
    assert_eq!((&old["enabled"], &old["status"]["waiting"]), (&json!(false), &json!(1)), "{old:#}");
    let reason = old["status"]["reason"].as_str().unwrap_or_default();
    assert!(reason.contains("1 dead letter") && reason.contains("put it back"), "{reason}");

    // Nothing else can be done with it.
    for (method, path) in [
        ("PATCH", ""),
        ("POST", "/pause"),
        ("POST", "/resume"),
        ("POST", "/test"),
        ("GET", "/preview"),
    ] {
        let path = format!("/api/destinations/old{path}");
        let seen = client.request(method, &path, b"{}").await;
        assert_eq!(seen.code(), 404, "{method} {path}: {}", seen.text());
    }
    let seen = client.request("DELETE", "/api/destinations/old", b"").await;
    assert_eq!(seen.code(), 204, "{}", seen.text());
    let seen = client.request("DELETE", "/api/destinations/old", b"").await;
    assert_eq!(seen.code(), 404, "{}", seen.text());
    assert_eq!(client.get("/api/destinations/old").await.code(), 404);
    assert_eq!(client.get(&format!("/api/replays/{replay}")).await.code(), 404);
    let left = dead_letters(&gateway.setup, &[]).await;
    assert!(left.contains("kept") && !left.contains("old"), "{left}");

    let gateway = world.restart_with(gateway, &["kept"]).await;
    let announced = gateway.log().iter().filter(|line| line.contains(ANNOUNCED)).count();
    assert_eq!(announced, 1, "{:#?}", gateway.log());
    // Put back now, it begins anew.
    let gateway = world.restart_with(gateway, &["old", "kept"]).await;
    let next = BTreeSet::from([call(&gateway.client(), "anew").await]);
    wait_told(&world.receiver, "old", &next).await;
    assert_eq!(get(&gateway, "/api/destinations/old").await["status"]["waiting"], 0);
}

#[tokio::test]
async fn a_destination_that_is_put_back_gets_what_happened_and_what_waited_meanwhile() {
    let (world, gateway) = World::begin().await;
    let gateway = world.restart_with(gateway, &["kept"]).await;
    let meanwhile: BTreeSet<_> = [call(&gateway.client(), "meanwhile").await].into();
    wait_told(&world.receiver, "kept", &meanwhile).await;
    let gateway = world.restart_with(gateway, &["old", "kept"]).await;
    wait_told(&world.receiver, "old", &meanwhile).await;
    let all = get(&gateway, "/api/destinations").await;
    assert!(!all.to_string().contains("removed"), "{all:#}");
    let before = world.receiver.arrivals().len();
    let said = dead_letters(&gateway.setup, &["retry", "--all", "--destination", "old"]).await;
    assert!(said.starts_with("1 dead letter will be sent again"), "{said}");
    world.receiver.wait_for(before + 1).await;
}

#[tokio::test]
async fn letters_of_a_destination_that_is_gone_are_not_sent_again_into_nowhere() {
    let (world, gateway) = World::begin().await;
    let gateway = world.restart_with(gateway, &["kept"]).await;
    gateway.wait_for_log(ANNOUNCED).await;
    let client = gateway.client();
    let dead = get(&gateway, "/api/deliveries?state=dead&destination=old").await;
    let id = dead["data"][0]["id"].as_str().expect("it is listed").to_owned();

    let explains = |said: &str| {
        let says = ["`old`", "put it back", "DELETE /api/destinations/old"];
        assert!(says.iter().all(|part| said.contains(part)), "{said}");
    };
    let one = client.post(&format!("/api/deliveries/old/{id}/retry"), &json!(null)).await;
    assert_eq!(one.code(), 409, "{}", one.text());
    explains(&error(&one));
    for is_dry in [true, false] {
        let named = json!({"destination": "old", "dry_run": is_dry});
        let named = client.post("/api/deliveries/retry", &named).await;
        assert_eq!(named.code(), 409, "{}", named.text());
        explains(&error(&named));
    }
    for args in [
        &["retry", "--destination", "old", "--all"][..],
        &["retry", "--destination", "old", "--status", "400"],
        &["retry", "--destination", "old", "--id", &id],
    ] {
        let (is_done, said) = command(&gateway, args).await;
        assert!(!is_done, "{args:?}: {said}");
        explains(&said);
    }

    // By a filter, they are skipped.
    let filter = json!({"all": true, "reason": "status 400", "dry_run": true});
    let counted = client.post("/api/deliveries/retry", &filter).await.json();
    assert_eq!(counted, json!({"matched": 1, "retried": 0, "skipped": 1}));
    let (is_done, said) = command(&gateway, &["retry", "--all"]).await;
    assert!(is_done && said.starts_with("1 dead letter will be sent again"), "{said}");
    assert!(said.contains("1 dead letter of `old` stays"), "{said}");
    explains(&said);
    wait_letters(&gateway.setup, 1).await;
    let again = json!({"all": true});
    let again = client.post("/api/deliveries/retry", &again).await;
    assert_eq!(again.json(), json!({"matched": 0, "retried": 0, "skipped": 1}));
    // The id alone says as much; and nothing was sent.
    let (is_done, said) = command(&gateway, &["retry", "--id", &id]).await;
    assert!(!is_done, "{said}");
    explains(&said);
    let waiting = get(&gateway, "/api/deliveries?state=waiting&destination=old").await;
    assert_eq!(waiting["data"].as_array().map(Vec::len), Some(1), "{waiting:#}");
}

#[tokio::test]
async fn a_new_destination_begins_without_what_a_removed_one_of_its_name_left() {
    let (world, gateway) = World::begin().await;
    let paused = gateway.client().post("/api/destinations/old/pause", &json!({})).await;
    assert_eq!(paused.code(), 200, "{}", paused.text());
    let stopped = gateway.terminate().await;
    let config = format!("{}{OPEN}", world.config(&["kept"]));
    stopped.setup.write_file("config.yaml", &config);
    let gateway = stopped.start().await;
    let client = gateway.client();
    let url = format!("{}?old", world.receiver.url());
    let made = json!({"name": "old", "url": url, "event_types": ["completion"]});
    let made = client.post("/api/destinations", &made).await;
    assert_eq!(made.code(), 201, "{}", made.text());
    let status = &made.json()["status"];
    assert_eq!((&status["state"], &status["lag"]), (&json!("active"), &json!(0)), "{status}");
    let next = BTreeSet::from([call(&client, "anew").await]);
    wait_told(&world.receiver, "old", &next).await;
    let left = dead_letters(&gateway.setup, &[]).await;
    assert!(left.contains("kept") && !left.contains("old"), "{left}");
    let said = dead_letters(&gateway.setup, &["retry", "--all", "--destination", "old"]).await;
    assert!(said.starts_with("No dead letter matches"), "{said}");
    // It is so over a restart.
    let gateway = gateway.terminate().await.start().await;
    let status = get(&gateway, "/api/destinations/old").await["status"].clone();
    assert_eq!(status["state"], "active", "{status}");
}
