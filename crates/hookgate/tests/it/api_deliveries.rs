//! Our own door: deliveries searched by what they carried, dead letters sent again by filter, and
//! replays with all that they leave.

use serde_json::{Value, json};
use testkit::Reply;

use crate::manage::{MASTER, Managed, OPEN, is_for};

/// The id of a call's completion.
fn completion(request_id: &str) -> String {
    format!("evt_{}_completion", request_id.trim_start_matches("req_"))
}

fn rows(list: &Value) -> Vec<Value> {
    list["data"].as_array().cloned().unwrap_or_default()
}

impl Managed {
    async fn list(&self, query: &str) -> Vec<Value> {
        let path = format!("/api/deliveries?{query}");
        rows(&self.expect(200, "GET", &path, None).await)
    }

    /// A page of deliveries once it has so many: what arrived is stored some milliseconds later.
    async fn listed(&self, query: &str, count: usize) -> Vec<Value> {
        let listed = tokio::time::timeout(testkit::DEADLINE, async {
            loop {
                let rows = self.list(query).await;
                if rows.len() == count {
                    break rows;
                }
                tokio::task::yield_now().await;
            }
        });
        listed.await.expect("so many deliveries are found in time")
    }

    /// The replay once it has ended.
    async fn finished(&self, id: &str) -> Value {
        let path = format!("/api/replays/{id}");
        let finished = tokio::time::timeout(testkit::DEADLINE, async {
            loop {
                let seen = self.expect(200, "GET", &path, None).await;
                if seen["state"] == "finished" {
                    break seen;
                }
                tokio::task::yield_now().await;
            }
        });
        finished.await.expect("the replay ends in time")
    }

    /// Replays everything to a destination; more keys may be given.
    async fn replay(&self, destination: &str, more: Value) -> String {
        let mut spec = json!({"destination": destination, "from": 1});
        for (key, value) in more.as_object().cloned().unwrap_or_default() {
            spec[key] = value;
        }
        let begun = self.expect(201, "POST", "/api/replays", Some(spec)).await;
        begun["id"].as_str().expect("it has an id").to_owned()
    }
}

#[tokio::test]
async fn a_batch_that_was_delivered_is_found_by_each_event_type_model_and_key_in_it() {
    let world = Managed::new().await;
    let batches = json!({"format": "generic_api", "batch_size": 3, "flush_interval": 60});
    world.make("batches", batches).await;
    let mut calls = Vec::new();
    for model in ["echo", "other", "echo"] {
        calls.push(world.call(model).await);
    }
    let batch = world.listed("destination=batches", 1).await.remove(0);
    let id = batch["id"].as_str().expect("it has an id").to_owned();
    assert!(id.starts_with("bat_"), "{batch}");
    let event = completion(&calls[1]);
    for (query, finds) in [
        ("model=other".to_owned(), true),
        ("model=gpt-4o-m*&key=app&type=completion&status=200".to_owned(), true),
        (format!("event={event}"), true),
        (format!("event={event}&state=delivered&destination=batches"), true),
        (format!("event={}", completion("req_0123456789abcdef0123456789abcdef")), false),
        ("type=error".to_owned(), false),
        ("model=nobody's".to_owned(), false),
        ("key=master".to_owned(), false),
        ("status=204".to_owned(), false),
    ] {
        let found = world.list(&query).await;
        assert_eq!(found.iter().any(|row| row["id"] == *id), finds, "{query}: {found:#?}");
    }
    let shown = world.expect(200, "GET", &format!("/api/deliveries/batches/{id}"), None).await;
    let expected: Vec<_> = calls.iter().map(|call| completion(call)).collect();
    assert_eq!(shown["events"], json!(expected), "{shown}");
    let shown = world.expect(200, "GET", &format!("/api/events/{event}"), None).await;
    let delivery = &shown["deliveries"][0];
    assert_eq!((&delivery["delivery"], &delivery["state"]), (&json!(id), &json!("delivered")));
    let of_state = world.expect(200, "GET", "/api/events?state=delivered&limit=2", None).await;
    let of_state: Vec<_> = rows(&of_state).iter().map(|event| event["id"].clone()).collect();
    assert_eq!(of_state, [json!(expected[2]), json!(expected[1])]);
}

#[tokio::test]
async fn a_search_for_what_cannot_be_says_so() {
    let world = Managed::with(|receiver| {
        let url = receiver.url();
        format!("webhooks:\n  primary: {{url: '{url}?p'}}\n  backup: {{url: '{url}?b'}}\n{OPEN}")
    })
    .await;
    for (query, field, says) in [
        ("destination=nope", "destination", "is not the name of a destination"),
        ("destination=backup", "destination", "`primary`"),
        ("status=20", "status", "must be a status"),
        ("state=lost", "state", "must be one of"),
        ("type=completions", "type", "must be one of"),
        ("modell=gpt", "modell", "is no parameter"),
    ] {
        let path = format!("/api/deliveries?{query}");
        let answer = world.expect(422, "GET", &path, None).await;
        let problem = &answer["error"]["problems"][0];
        let message = problem["message"].as_str().unwrap_or_default();
        assert!(problem["field"] == field && message.contains(says), "{query}: {answer}");
    }
    for (body, field) in [
        (json!({"destination": "nope"}), "destination"),
        (json!({"destination": "primary", "status": 9}), "status"),
        (json!({"all": true, "type": "completions"}), "type"),
        (json!({"all": true, "reasons": "x"}), "reasons"),
    ] {
        let answer = world.expect(422, "POST", "/api/deliveries/retry", Some(body.clone())).await;
        assert_eq!(answer["error"]["problems"][0]["field"], field, "{body}: {answer}");
    }
}

#[tokio::test]
async fn dead_letters_go_again_by_status_reason_model_key_and_type() {
    let world = Managed::new().await;
    world.make("picky", json!({})).await;
    world.receiver.answer_to("\"model\":\"other\"", Reply::status(422));
    world.receiver.answer_to("\"event\":\"error\"", Reply::status(400).body("no errors, please"));
    let other = [world.call("other").await, world.call("other").await];
    let unknown = world.app().post("/v1/chat/completions", &json!({"model": "nobody"})).await;
    assert!(unknown.code() >= 400);
    // They are given up once others pass.
    let dead = loop {
        let passes = world.call("echo").await;
        world.told("picky", &passes).await;
        let dead = world.list("state=dead").await;
        if dead.len() == 3 {
            break dead;
        }
    };
    assert!(dead.iter().all(|row| row["destination"] == "picky"), "{dead:#?}");
    world.receiver.answer_alike();
    let retry = async |filter: Value| {
        let mut filter = filter;
        filter["all"] = json!(true);
        let is_dry = filter["dry_run"] == true;
        let status = if is_dry { 200 } else { 202 };
        let told = world.expect(status, "POST", "/api/deliveries/retry", Some(filter)).await;
        (told["matched"].as_u64().unwrap_or(99), told["retried"].as_u64().unwrap_or(99))
    };
    for (filter, count) in [
        (json!({"status": 503}), 0),
        (json!({"status": 422}), 2),
        (json!({"reason": "STATUS 4"}), 3),
        (json!({"reason": "refused"}), 0),
        (json!({"model": "oth*"}), 2),
        (json!({"model": "oth*", "type": "error"}), 0),
        (json!({"type": "completion"}), 2),
        (json!({"key": "app"}), 3),
        (json!({"key": "nobody"}), 0),
        (json!({"until": "2020-01-01T00:00:00Z"}), 0),
    ] {
        let mut dry = filter.clone();
        dry["dry_run"] = json!(true);
        assert_eq!(retry(dry).await, (count, 0), "{filter}");
    }
    assert_eq!(retry(json!({"type": "error"})).await, (1, 1));
    assert_eq!(retry(json!({"model": "other", "status": 422})).await, (2, 2));
    for call in other {
        world.told("picky", &call).await;
    }
    assert_eq!(retry(json!({})).await, (0, 0));
}

#[tokio::test]
async fn attempts_that_were_made_are_told_beside_those_that_count() {
    let world = Managed::new().await;
    world.make("down", json!({})).await;
    world.receiver.set_default(Reply::status(503));
    let call = world.call("echo").await;
    let path = format!("/api/deliveries/down/{}", completion(&call));
    world.receiver.wait_for(8).await;
    let shown = loop {
        let seen = world.ask("GET", &path, None).await;
        let made = seen.json()["attempts"].as_u64().unwrap_or_default();
        if made >= 7 {
            break seen.json();
        }
        tokio::task::yield_now().await;
    };
    let history = shown["history"].as_array().cloned().unwrap_or_default();
    assert_eq!(shown["attempts"], history.len(), "{shown}");
    let numbers: Vec<_> = history.iter().filter_map(|attempt| attempt["number"].as_u64()).collect();
    assert!(numbers.iter().copied().eq(1..=history.len() as u64), "{numbers:?}");
    // Two are allowed, and it is not given up: the receiver's failures are not the delivery's.
    assert!(shown["attempts_counted"].as_u64().is_some_and(|counted| counted <= 2), "{shown}");
    assert_eq!(shown["state"], "waiting", "{shown}");
}

#[tokio::test]
async fn what_a_replay_gives_up_is_listed_with_its_destination_and_goes_again_after_a_restart() {
    let world = Managed::new().await;
    world.make("audit", json!({})).await;
    let refused = world.call("other").await;
    world.told("audit", &refused).await;
    world.listed("destination=audit", 1).await;
    world.receiver.answer_to("\"model\":\"other\"", Reply::status(400));
    let replay = world.replay("audit", json!({})).await;
    let done = world.finished(&replay).await;
    assert_eq!((&done["delivered"], &done["given_up"]), (&json!(0), &json!(1)), "{done}");
    let dead = world.listed("destination=audit&state=dead", 1).await;
    assert_eq!(
        (&dead[0]["destination"], &dead[0]["replay"]),
        (&json!("audit"), &json!(replay)),
        "{dead:#?}"
    );
    assert_eq!(world.list("destination=audit").await.len(), 2, "and the lane's own");
    assert_eq!(world.list(&format!("destination={replay}")).await, dead);
    let one = format!("/api/deliveries/{replay}/{}", completion(&refused));
    assert_eq!(world.expect(200, "GET", &one, None).await["state"], "dead");

    let Managed { receiver, gateway } = world;
    let world = Managed { receiver, gateway: gateway.kill_and_restart().await };
    world.receiver.answer_alike();
    world.receiver.clear();
    world.expect(202, "POST", &format!("{one}/retry"), None).await;
    world.told("audit", &refused).await;
    let done = world.finished(&replay).await;
    assert_eq!((&done["delivered"], &done["given_up"]), (&json!(1), &json!(0)), "{done}");
    assert_eq!(world.list("state=dead").await, Vec::<Value>::new());

    // It goes with its destination.
    world.expect(204, "DELETE", "/api/destinations/audit", None).await;
    world.expect(404, "GET", &format!("/api/replays/{replay}"), None).await;
    let path = format!("/api/deliveries?destination={replay}");
    world.expect(422, "GET", &path, None).await;
}

#[tokio::test]
async fn a_replay_in_another_format_to_another_destination_sends_what_its_dry_run_showed() {
    let world = Managed::new().await;
    world.make("first", json!({})).await;
    let calls = [world.call("echo").await, world.call("other").await, world.call("other").await];
    for call in &calls {
        world.told("first", call).await;
    }
    world.make("second", json!({})).await;
    let spec = json!({
        "destination": "second", "from": 1, "format": "cloudevents", "mode": "batch",
        "filter": {"models": ["other"]}, "dry_run": true,
    });
    let dry = world.expect(200, "POST", "/api/replays", Some(spec.clone())).await;
    assert_eq!((&dry["matched"], &dry["bodies"]), (&json!({"completion": 2}), &json!(2)), "{dry}");
    let first = dry["first"]["body"].as_str().expect("it shows the first body").to_owned();
    assert!(!world.receiver.arrivals().iter().any(|arrival| is_for(arrival, "second")));
    let wrong = json!({"destination": "second", "from": 1, "format": "event", "mode": "batch"});
    let answer = world.expect(422, "POST", "/api/replays", Some(wrong)).await;
    assert_eq!(answer["error"]["problems"][0]["field"], "mode", "{answer}");

    let mut spec = spec;
    spec["dry_run"] = json!(false);
    let begun = world.expect(201, "POST", "/api/replays", Some(spec)).await;
    let id = begun["id"].as_str().expect("it has an id");
    assert_eq!(world.finished(id).await["delivered"], 2);
    let arrivals = world.receiver.arrivals();
    let sent: Vec<_> = arrivals.iter().filter(|arrival| is_for(arrival, "second")).collect();
    assert_eq!(sent.len(), 2);
    assert!(sent.iter().any(|arrival| arrival.body == first.as_bytes()), "{first}");
    let kind = "application/cloudevents-batch+json";
    assert!(sent.iter().all(|a| a.header("content-type").is_some_and(|c| c.starts_with(kind))));
}

#[tokio::test]
async fn a_replay_is_paused_and_resumed_by_itself_and_rests_with_its_destination() {
    let world = Managed::new().await;
    world.make("audit", json!({})).await;
    let mut calls = Vec::new();
    for _ in 0..20 {
        calls.push(world.call("echo").await);
    }
    for call in &calls {
        world.told("audit", call).await;
    }
    let before = world.receiver.arrivals().len();
    let replay = world.replay("audit", json!({"rate": 10})).await;
    world.receiver.wait_for(before + 1).await;
    let path = format!("/api/replays/{replay}");
    let paused = world.expect(200, "POST", &format!("{path}/pause"), None).await;
    let expected = (json!("stopped"), json!("paused by an operator"));
    assert_eq!((paused["state"].clone(), paused["reason"].clone()), expected);
    let later = world.call("other").await;
    world.told("audit", &later).await;
    let resumed = world.expect(200, "POST", &format!("{path}/resume"), None).await;
    assert_eq!(resumed["state"], "running");

    world.expect(200, "POST", "/api/destinations/audit/pause", None).await;
    let sent = world.receiver.arrivals().len();
    let rests = world.expect(200, "GET", &path, None).await;
    let reason = rests["reason"].as_str().unwrap_or_default();
    assert!(rests["state"] == "stopped" && reason.contains("its destination"), "{rests}");
    world.expect(200, "POST", "/api/destinations/audit/resume", None).await;
    let done = world.finished(&replay).await;
    assert!(world.receiver.arrivals().len() > sent, "{done}");
    for call in &calls {
        let told = world.receiver.arrivals();
        let times = told.iter().filter(|a| String::from_utf8_lossy(&a.body).contains(call)).count();
        assert_eq!(times, 2, "once by the lane and once by the replay: {call}");
    }
    world.expect(409, "POST", &format!("{path}/pause"), None).await;
    world.expect(404, "POST", "/api/replays/replay_x/pause", None).await;
}

#[tokio::test]
async fn the_command_line_replays_by_a_running_gateway() {
    let world = Managed::new().await;
    world.make("audit", json!({})).await;
    let calls = [world.call("echo").await, world.call("other").await];
    for call in &calls {
        world.told("audit", call).await;
    }
    let url = world.gateway.url();
    let replay = async |key: &str, args: &[&str]| {
        let args = [&["replay", "--gateway", &url], args].concat();
        let mut command = world.gateway.setup.command(&args);
        let output = command.env("HOOKGATE_MASTER_KEY", key).output().await;
        let output = output.expect("the binary was built for this test");
        let said = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8_lossy(&said).into_owned())
    };
    let range = ["start", "--destination", "audit", "--from", "1", "--model", "oth*"];
    let (is_done, said) = replay(MASTER, &[&range[..], &["--dry-run"]].concat()).await;
    assert!(is_done && said.starts_with("1 events in 1 bodies would go to audit."), "{said}");
    assert!(said.contains("webhook-signature: ") && said.contains(&calls[1]), "{said}");
    assert_eq!(replay(MASTER, &["list"]).await, (true, "There are no replays.\n".to_owned()));

    let before = world.receiver.arrivals().len();
    let (is_done, said) = replay(MASTER, &range).await;
    assert!(is_done && said.starts_with("Replay replay_"), "{said}");
    let id = said.split_whitespace().nth(1).expect("it is named");
    assert_eq!(world.finished(id).await["delivered"], 1);
    assert_eq!(world.receiver.arrivals().len(), before + 1);
    let (is_done, said) = replay(MASTER, &["list"]).await;
    assert!(is_done && said.contains(id) && said.contains("finished"), "{said}");
    let (is_done, said) = replay(MASTER, &["remove", id]).await;
    assert!(is_done, "{said}");

    let (is_done, said) = replay("sk-wrong", &["list"]).await;
    assert!(!is_done && said.contains("HOOKGATE_MASTER_KEY"), "{said}");
    let wrong = ["start", "--destination", "nobody", "--from", "noon"];
    let (is_done, said) = replay(MASTER, &wrong).await;
    assert!(!is_done && said.contains("destination: is not the name"), "{said}");
    assert!(said.contains("from: must be a time"), "{said}");
}

#[tokio::test]
async fn the_command_line_finds_the_dead_letters_that_the_api_finds() {
    let world = Managed::new().await;
    world.make("picky", json!({})).await;
    world.make("other", json!({})).await;
    world.receiver.answer_to("\"model\":\"other\"", Reply::status(422));
    world.receiver.answer_to("\"event\":\"error\"", Reply::status(400));
    let refused = world.call("other").await;
    let unknown = world.app().post("/v1/chat/completions", &json!({"model": "nobody"})).await;
    assert!(unknown.code() >= 400);
    // They are given up once others pass.
    while world.list("state=dead").await.len() < 4 {
        let passes = world.call("echo").await;
        world.told("picky", &passes).await;
        world.told("other", &passes).await;
    }
    let replay = world.replay("picky", json!({})).await;
    assert_eq!(world.finished(&replay).await["given_up"], 2);

    let url = world.gateway.url();
    let data = world.gateway.setup.data_dir();
    let data = data.to_str().expect("its name is text");
    let command = async |key: &str, url: &str, args: &[&str]| {
        let args = [&["dead-letters", "--data-dir", data, "--gateway", url], args].concat();
        let mut command = world.gateway.setup.command(&args);
        let output = command.env("HOOKGATE_MASTER_KEY", key).output().await;
        let output = output.expect("the binary was built for this test");
        let said = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8_lossy(&said).into_owned())
    };
    let event = completion(&refused);
    for (filter, count) in [
        (&[("destination", "picky")][..], 4),
        (&[("destination", "other")], 2),
        (&[("destination", &replay)], 2),
        (&[("status", "422")], 3),
        (&[("status", "503")], 0),
        (&[("reason", "STATUS 4")], 6),
        (&[("model", "oth*")], 3),
        (&[("model", "oth*"), ("destination", "picky"), ("status", "422")], 2),
        (&[("model", "oth*"), ("status", "400")], 0),
        (&[("key", "app")], 6),
        (&[("key", "nobody")], 0),
        (&[("type", "error"), ("since", "2026-01-01T00:00:00Z")], 3),
        (&[("type", "error"), ("until", "2026-01-01T00:00:00Z")], 0),
        (&[("event", &event)], 3),
        (&[("event", &event), ("destination", "other")], 1),
    ] {
        let query: Vec<_> = filter.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let by_api =
            world.list(&format!("state=dead&{}", query.join("&").replace(' ', "%20"))).await;
        assert_eq!(by_api.len(), count, "{filter:?}: {by_api:#?}");
        let options: Vec<_> =
            filter.iter().map(|(name, value)| format!("--{name}={value}")).collect();
        let options: Vec<_> = options.iter().map(String::as_str).collect();
        let (is_done, said) = command(MASTER, &url, &options).await;
        let rows = said.lines().filter(|line| line.starts_with("evt_")).count();
        assert!(is_done && rows == count, "{filter:?}: {said}");
    }
    // What rows tell needs no key and no gateway.
    let (is_done, said) = command("", "http://127.0.0.1:1", &["--status", "422"]).await;
    assert!(is_done && said.lines().filter(|line| line.starts_with("evt_")).count() == 3, "{said}");
    let (is_done, said) = command("sk-wrong", &url, &["--model", "other"]).await;
    assert!(!is_done && said.contains("HOOKGATE_MASTER_KEY"), "{said}");
    let (is_done, said) = command(MASTER, &url, &["--type", "completions"]).await;
    assert!(!is_done && said.contains("must be one of"), "{said}");

    world.receiver.answer_alike();
    world.receiver.clear();
    let retry = ["retry", "--destination", "picky", "--model", "other", "--key", "app"];
    let (is_done, said) = command(MASTER, &url, &retry).await;
    assert!(is_done && said.starts_with("2 dead letters will be sent again"), "{said}");
    world.receiver.wait_for(2).await;
    assert!(world.receiver.arrivals().iter().all(|arrival| is_for(arrival, "picky")));
    assert_eq!(world.listed("state=dead", 4).await.len(), 4);
}
