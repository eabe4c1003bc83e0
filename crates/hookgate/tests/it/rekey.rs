//! The key of stored secrets is changed: one start brings them all under another, whichever door they
//! came through.

use serde_json::{Value, json};
use testkit::{DEADLINE, client::chat_body, gateway::Setup, receiver::Arrival, zoo::Cage};

use crate::{
    manage::{Managed, is_for, is_signed_with},
    tls_world::{CHAIN, KEY, ROOT, guarding},
};

const KEY_FILE: &str = "secrets.key";
const FIRST: &str = "the first key of this test";
const SECOND: &str = "the second key of this test";
const WRONG: &str = "a key that seals nothing here";

const BROADCASTS: &str = "/api/v1/observability/destinations";
const WEBHOOKS: &str = "/v1/webhooks";

const IN_FORCE: &str = "HOOKGATE_ENCRYPTION_KEY";
const PREVIOUS: &str = "HOOKGATE_ENCRYPTION_KEY_PREVIOUS";

/// A gateway with a destination for every kind of secret that is stored.
struct Sealed {
    world: Managed,
    /// TLS that asks for a certificate, in front of the receiver.
    _guarded: Cage,
    /// The signing secret in force, and the one before it.
    secrets: [String; 2],
    /// Helicone's list, which shows its key.
    webhooks: Value,
}

impl Sealed {
    async fn new() -> Self {
        let world = Managed::new().await;
        let text = |value: &Value| value.as_str().expect("shown once").to_owned();
        let url = world.url("given").replace("://", "://user:password@");
        let given = json!({"url": url, "headers": {"X-Token": "a token"}});
        let old = text(&world.make("given", given).await["secret"]);
        let path = "/api/destinations/given/rotate-secret";
        let new = text(&world.expect(200, "POST", path, None).await["secret"]);

        let webhook = json!({"destination": world.url("helicone"), "config": {}});
        world.expect(200, "POST", WEBHOOKS, Some(webhook)).await;
        let webhooks = world.expect(200, "GET", WEBHOOKS, None).await;

        let headers = json!({"Authorization": "Bearer of a broadcast"});
        let config = json!({"url": world.url("broadcast"), "headers": headers});
        let broadcast = json!({"type": "webhook", "name": "broadcast", "config": config});
        world.expect(201, "POST", BROADCASTS, Some(broadcast)).await;

        let guarded = guarding(&world.receiver.url()).await;
        let tls = json!({"ca": ROOT, "client_certificate": CHAIN, "client_key": KEY});
        let url = format!("{}hook?mutual", guarded.url("https"));
        world.make("mutual", json!({"url": url, "tls": tls})).await;
        let sealed = Self { world, _guarded: guarded, secrets: [new, old], webhooks };
        sealed.expect_all().await;
        sealed
    }

    /// Every destination gets a call's outcome, with what only its secrets can make.
    async fn expect_all(&self) {
        self.world.receiver.clear();
        let body = chat_body("echo", "hi");
        let seen = self.world.app().post("/v1/chat/completions", &body).await;
        let id = |header| seen.header(header).expect("every admitted call is named").to_owned();
        let (call, uuid) = (id("x-hookgate-request-id"), id("helicone-id"));
        let given = self.world.told("given", &call).await;
        assert_eq!(given.header("x-token"), Some("a token"));
        assert_eq!(given.header("authorization"), Some("Basic dXNlcjpwYXNzd29yZA=="));
        for secret in &self.secrets {
            assert!(is_signed_with(&given, secret), "the rotation still overlaps");
        }
        // A trace names the call in its own way.
        let is_trace = |arrival: &Arrival| is_for(arrival, "broadcast") && arrival.is_accepted();
        let told = self.world.receiver.wait_until("a trace", |seen| seen.iter().any(is_trace));
        let told = told.await.into_iter().find(is_trace).expect("waited for it");
        assert_eq!(told.header("authorization"), Some("Bearer of a broadcast"));
        self.world.told("mutual", &call).await;
        self.world.told("helicone", &uuid).await;
        assert_eq!(self.world.expect(200, "GET", WEBHOOKS, None).await, self.webhooks);
    }

    /// Kills the process. It does not start with some keys and says why; then it starts with these.
    /// An empty one is not set.
    async fn restart(mut self, refused: &[[&str; 3]], key: &str, previous: &str) -> Self {
        let mut stopped = self.world.gateway.kill().await;
        for [key, previous, why] in refused {
            let said = expect_refused(&stopped.setup, key, previous).await;
            assert!(said.contains(why), "`{why}` is not in:\n{said}");
        }
        stopped.setup = stopped.setup.env(IN_FORCE, key).env(PREVIOUS, previous);
        self.world.gateway = stopped.start().await;
        self.expect_all().await;
        self
    }
}

/// Starts a gateway, which ends by itself; returns what it said.
async fn expect_refused(setup: &Setup, key: &str, previous: &str) -> String {
    let mut command = setup.command(&["serve", "--config", "config.yaml", "--port", "0"]);
    command.arg("--data-dir").arg(setup.data_dir()).env(IN_FORCE, key).env(PREVIOUS, previous);
    let output = tokio::time::timeout(DEADLINE, command.output()).await;
    let output = output.expect("it ends by itself").expect("the binary was built for this test");
    assert_eq!(output.status.code(), Some(1));
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_start_brings_all_secrets_under_another_key_and_the_old_one_is_refused_from_then_on() {
    const NEITHER: &str = "nor with the one in HOOKGATE_ENCRYPTION_KEY_PREVIOUS";
    const WRONG_KEY: &str = "do not open with the configured encryption key";
    let sealed = Sealed::new().await;
    let key_file = sealed.world.gateway.setup.data_dir().join(KEY_FILE);
    let key_of_file = std::fs::read_to_string(&key_file).expect("the first start made it");

    // From the key file to a key of the environment. What is refused has changed nothing.
    let refused = [[FIRST, "", WRONG_KEY], [FIRST, WRONG, NEITHER]];
    let sealed = sealed.restart(&refused, FIRST, KEY_FILE).await;
    // To another one. The previous key may stay where it is.
    let refused = [["", "", "do not open with the key in"], ["", WRONG, NEITHER]];
    let sealed = sealed.restart(&refused, FIRST, KEY_FILE).await;
    let sealed = sealed.restart(&[], FIRST, "").await;
    let sealed = sealed.restart(&[], SECOND, FIRST).await;
    // And to a new key file.
    std::fs::remove_file(&key_file).expect("nothing needs it");
    let sealed = sealed.restart(&[[FIRST, "", WRONG_KEY]], "", SECOND).await;
    let sealed = sealed.restart(&[[SECOND, "", WRONG_KEY]], "", "").await;
    let new_key_of_file = std::fs::read_to_string(&key_file).expect("a start made it");
    assert_ne!(new_key_of_file, key_of_file);

    let log = sealed.world.gateway.log();
    let changes: Vec<_> = log.iter().filter(|line| line.contains("sealed anew")).collect();
    assert_eq!(changes.len(), 3, "{changes:#?}");
    // Four of `given`, two of `mutual`, the header of `broadcast`, and Helicone's key.
    assert!(changes.iter().all(|line| line.contains("secrets=8")), "{changes:#?}");
    for key in [FIRST, SECOND, WRONG, key_of_file.trim(), new_key_of_file.trim()] {
        assert!(!log.iter().any(|line| line.contains(key)), "the log holds {key}");
    }
}
