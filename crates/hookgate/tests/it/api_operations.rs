//! Whatever operators do in whatever order, and whenever the gateway dies meanwhile: each outcome that
//! a destination is owed arrives there or stands in its dead letters, and what is listed is what the
//! receiver saw.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};
use testkit::{Reply, receiver::Arrival};

use crate::{delivery_world::dead_letters, manage::Managed};

const STEPS: usize = 40;
/// What these destinations refuse while they are in the mood.
const REFUSED: &str = "other\"";

/// A destination, and what it is owed since it was made.
struct Known {
    name: &'static str,
    settings: Value,
    /// How often it was made. It stands in the URL.
    epoch: usize,
    owed: BTreeSet<String>,
}

impl Known {
    fn path(&self) -> String {
        format!("/api/destinations/{}", self.name)
    }

    /// Whether the receiver accepted it for this destination since that was made.
    fn has_taken(&self, arrival: &Arrival) -> bool {
        let query = format!("?{}.{}", self.name, self.epoch);
        arrival.is_accepted() && arrival.path.ends_with(&query)
    }
}

struct Operators {
    world: Managed,
    known: Vec<Known>,
    dice: fastrand::Rng,
    /// What was done, for whoever reads a failure.
    story: Vec<String>,
}

impl Operators {
    async fn begin(seed: u64) -> Self {
        let world = Managed::new().await;
        let batches = json!({"format": "generic_api", "batch_size": 3, "flush_interval": 0.05});
        let known = [("each", json!({})), ("batches", batches)].map(|(name, settings)| Known {
            name,
            settings,
            epoch: 0,
            owed: BTreeSet::new(),
        });
        let dice = fastrand::Rng::with_seed(seed);
        let story = vec![format!("seed {seed}")];
        let mut operators = Self { world, known: known.into(), dice, story };
        for index in 0..operators.known.len() {
            operators.make(index).await;
        }
        operators
    }

    async fn make(&mut self, index: usize) {
        let known = &mut self.known[index];
        known.epoch += 1;
        known.owed.clear();
        let url = format!("{}?{}.{}", self.world.receiver.url(), known.name, known.epoch);
        let mut spec = known.settings.clone();
        for (key, value) in [
            ("name", json!(known.name)),
            ("url", json!(url)),
            ("event_types", json!(["completion"])),
        ] {
            spec[key] = value;
        }
        self.world.expect(201, "POST", "/api/destinations", Some(spec)).await;
    }

    async fn call(&mut self) {
        let model = if self.dice.u8(0..4) == 0 { "other" } else { "echo" };
        let id = self.world.call(model).await;
        for known in &mut self.known {
            known.owed.insert(id.clone());
        }
    }

    async fn restart(mut self) -> Self {
        let Managed { receiver, gateway } = self.world;
        let is_kill = self.dice.bool();
        let gateway = if is_kill {
            gateway.kill_and_restart().await
        } else {
            gateway.terminate().await.start().await
        };
        self.world = Managed { receiver, gateway };
        self.story.push(if is_kill { "kill" } else { "restart" }.to_owned());
        self
    }

    /// Does something or other.
    async fn step(mut self) -> Self {
        let what = self.dice.u8(0..20);
        if what == 0 {
            return self.restart().await;
        }
        let index = self.dice.usize(0..self.known.len());
        let (path, name) = (self.known[index].path(), self.known[index].name);
        let what = match what {
            1..=7 => {
                for _ in 0..self.dice.usize(1..5) {
                    self.call().await;
                }
                "calls"
            }
            8 => {
                self.world.receiver.set_default(Reply::status(503));
                "the receiver is down"
            }
            9 => {
                self.world.receiver.set_default(Reply::status(200));
                "the receiver is up"
            }
            10 => {
                self.world.receiver.answer_to(REFUSED, Reply::status(400));
                "the receiver refuses some"
            }
            11 => {
                self.world.receiver.answer_alike();
                "the receiver refuses nothing"
            }
            12 => {
                self.world.expect(200, "POST", &format!("{path}/pause"), None).await;
                "pause"
            }
            13 => {
                self.world.expect(200, "POST", &format!("{path}/resume"), None).await;
                "resume"
            }
            14 => {
                let filter = json!({"destination": name, "model": "o*"});
                self.world.expect(202, "POST", "/api/deliveries/retry", Some(filter)).await;
                "retry by filter"
            }
            15 => {
                let rate = self.dice.u32(20..200);
                let spec = json!({"destination": name, "from": 1, "rate": rate});
                // There may be nothing yet.
                let begun = self.world.ask("POST", "/api/replays", Some(spec)).await;
                assert!(matches!(begun.code(), 201 | 422), "{}", begun.text());
                "replay"
            }
            16 => {
                self.world.expect(204, "DELETE", &path, None).await;
                self.make(index).await;
                "delete and make again"
            }
            17 => {
                let change = json!({"timeout_ms": self.dice.u32(2_000..9_000)});
                self.world.expect(200, "PATCH", &path, Some(change)).await;
                "change"
            }
            _ => {
                dead_letters(&self.world.gateway.setup, &["retry", "--all"]).await;
                "retry all by the command line"
            }
        };
        self.story.push(format!("{name}: {what}"));
        self
    }

    /// Waits until nothing is left to send.
    async fn settled(&mut self) {
        self.world.receiver.set_default(Reply::status(200));
        for index in 0..self.known.len() {
            let path = format!("{}/resume", self.known[index].path());
            self.world.expect(200, "POST", &path, None).await;
        }
        let settled = tokio::time::timeout(testkit::DEADLINE, async {
            while !self.is_settled().await {
                // What is out of attempts is given up once others pass.
                self.world.call("echo").await;
            }
        });
        let is_settled = settled.await.is_ok();
        assert!(is_settled, "{:#?}, {:#?}", self.left().await, self.story);
    }

    /// What keeps it from being settled.
    async fn left(&self) -> Value {
        let mut unlisted = Vec::new();
        for known in &self.known {
            unlisted.extend(self.unlisted(known).await);
        }
        let replays = self.world.expect(200, "GET", "/api/replays", None).await;
        let waiting = self.list("state=waiting").await;
        json!({"waiting": waiting, "replays": replays, "unlisted": unlisted})
    }

    /// Whether nothing is left to send, and what arrived is listed: that is stored some milliseconds
    /// later.
    async fn is_settled(&self) -> bool {
        for known in &self.known {
            let seen = self.world.expect(200, "GET", &known.path(), None).await;
            if seen["status"]["lag"] != 0 || seen["status"]["waiting"] != 0 {
                return false;
            }
        }
        let replays = self.world.expect(200, "GET", "/api/replays", None).await;
        let replays = replays["data"].as_array().cloned().unwrap_or_default();
        let have_ended = replays.iter().all(|replay| replay["state"] == "finished");
        if !have_ended || !self.list("state=waiting").await.is_empty() {
            return false;
        }
        for known in &self.known {
            if !self.unlisted(known).await.is_empty() {
                return false;
            }
        }
        true
    }

    /// What the receiver took and no list tells. What it took right before a kill may be refused when
    /// it comes again.
    async fn unlisted(&self, known: &Known) -> Vec<String> {
        let of = |state: &str| format!("state={state}&destination={}", known.name);
        let mut listed = self.events(&of("delivered")).await;
        listed.extend(self.events(&of("dead")).await);
        self.taken(known).difference(&listed).cloned().collect()
    }

    /// All deliveries that are found, page by page.
    async fn list(&self, query: &str) -> Vec<Value> {
        let (mut all, mut cursor) = (Vec::new(), String::new());
        loop {
            let path = format!("/api/deliveries?limit=7&{query}{cursor}");
            let page = self.world.expect(200, "GET", &path, None).await;
            all.extend(page["data"].as_array().cloned().unwrap_or_default());
            let Some(next) = page["next"].as_str() else { return all };
            cursor = format!("&cursor={next}");
        }
    }

    /// The ids of the events in deliveries that are found.
    async fn events(&self, query: &str) -> BTreeSet<String> {
        let mut events = BTreeSet::new();
        for row in self.list(query).await {
            let lane = row["replay"].as_str().or(row["destination"].as_str()).unwrap_or_default();
            let id = row["id"].as_str().unwrap_or_default();
            let path = format!("/api/deliveries/{lane}/{id}");
            let detail = self.world.expect(200, "GET", &path, None).await;
            let of_it = detail["events"].as_array().cloned().unwrap_or_default();
            events.extend(of_it.iter().filter_map(Value::as_str).map(str::to_owned));
        }
        events
    }

    /// The events that the receiver accepted for a destination.
    fn taken(&self, known: &Known) -> BTreeSet<String> {
        let arrivals = self.world.receiver.arrivals();
        let taken = arrivals.iter().filter(|arrival| known.has_taken(arrival));
        let items = taken.flat_map(Arrival::items);
        items.map(|item| completion(&crate::delivery_world::request_id(&item))).collect()
    }

    async fn check(&self) -> BTreeMap<&'static str, usize> {
        let mut dead_of = BTreeMap::new();
        for known in &self.known {
            let name = known.name;
            let taken = self.taken(known);
            let dead = self.events(&format!("state=dead&destination={name}")).await;
            let delivered = self.events(&format!("state=delivered&destination={name}")).await;
            for id in &known.owed {
                let event = completion(id);
                assert!(
                    taken.contains(&event) || dead.contains(&event),
                    "{name} is owed {event}: {:#?}",
                    self.story
                );
            }
            let story = &self.story;
            let untrue: Vec<_> = delivered.difference(&taken).collect();
            assert!(untrue.is_empty(), "{name} did not get {untrue:?}: {story:#?}");
            dead_of.insert(name, dead.len());
        }
        dead_of
    }
}

fn completion(request_id: &str) -> String {
    format!("evt_{}_completion", request_id.trim_start_matches("req_"))
}

/// The one that is asked for; else one that is always the same, and another.
#[expect(clippy::disallowed_methods, reason = "a test reads its own setting")]
fn seeds() -> Vec<u64> {
    match std::env::var("OPERATIONS_SEED") {
        Ok(seed) => vec![seed.parse().expect("a number")],
        Err(_) => vec![1, fastrand::u64(..)],
    }
}

#[tokio::test]
async fn whatever_operators_do_in_whatever_order_nothing_is_lost_and_what_is_listed_is_so() {
    for seed in seeds() {
        let mut operators = Operators::begin(seed).await;
        for _ in 0..STEPS {
            operators = operators.step().await;
        }
        operators.settled().await;
        operators.check().await;
        // Nothing is refused any more, so nothing needs to stay dead.
        operators.world.receiver.answer_alike();
        let all = Some(json!({"all": true}));
        operators.world.expect(202, "POST", "/api/deliveries/retry", all).await;
        operators.settled().await;
        let dead = operators.check().await;
        assert!(dead.values().all(|dead| *dead == 0), "{dead:?}: {:#?}", operators.story);
    }
}
