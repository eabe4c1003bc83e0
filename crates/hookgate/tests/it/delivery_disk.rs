//! A disk that is really full. The test runs again in a process of its own, in which a small tmpfs is
//! mounted that no other process sees. Where that is not allowed, it says so.

use std::{collections::BTreeSet, fs, future::Future, io::Write, path::Path, process::Command};

use testkit::{Answer, DEADLINE, Gate, Gateway, Receiver, Upstream, gateway::Setup};
use tokio::task::JoinSet;

use crate::{
    delivery_world::{
        DEBUG, OUTCOMES, QUICK, call, callbacks, dead_letters, expect_told_once, told, wait_told,
        webhook, webhooks,
    },
    support::BINARY,
    world::{deployment, models},
};

/// Set in the inner process: where the tmpfs is mounted.
const MOUNTED: &str = "HOOKGATE_TEST_SMALL_DISK";
const DISK: &str = "24m";
const BALLAST: u64 = 4 << 20;

/// Runs the test of this name with a full-sized disk of 24 MiB.
fn on_a_small_disk<F: Future<Output = ()>>(test: &str, body: impl FnOnce(std::path::PathBuf) -> F) {
    #[expect(clippy::disallowed_methods, reason = "how the outer process tells the inner one")]
    let mounted = std::env::var(MOUNTED);
    if let Ok(path) = mounted {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        return runtime.expect("a runtime starts").block_on(body(path.into()));
    }
    let dir = tempfile::tempdir().expect("the system has room for a directory");
    let script = format!("mount -t tmpfs -o size={DISK} tmpfs \"${MOUNTED}\" && exec \"$@\"");
    let unshare = |command: &[&str]| {
        let mut unshare = Command::new("unshare");
        // As root without a user namespace; as anyone else root of one's own.
        if !rustix::process::getuid().is_root() {
            unshare.args(["--user", "--map-root-user"]);
        }
        unshare.args(["--mount", "sh", "-c", &script, "sh"]).args(command);
        unshare.env(MOUNTED, dir.path()).output()
    };
    if !unshare(&["true"]).is_ok_and(|output| output.status.success()) {
        #[expect(clippy::print_stderr, reason = "what is not tested is said")]
        {
            eprintln!("NOT TESTED: {test}: this machine does not let us mount a small disk");
        }
        return;
    }
    let program = std::env::current_exe().expect("a process knows its file");
    let program = program.to_str().expect("its name is text");
    let name = format!("delivery_disk::{test}");
    let output = unshare(&[program, &name, "--exact", "--nocapture"]).expect("it ran before");
    let said = String::from_utf8_lossy(&output.stdout);
    let complaints = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.contains("1 passed"), "{said}\n{complaints}");
}

/// Takes all the room that is left.
fn fill(disk: &Path) {
    let file = fs::File::options().create(true).append(true).open(disk.join("filler"));
    let mut file = file.expect("an empty file needs no room");
    for chunk in [64 << 10, 4096, 512, 1] {
        while file.write_all(&vec![1; chunk]).is_ok() {}
    }
}

struct World {
    upstream: Upstream,
    receiver: Receiver,
    gateway: Gateway,
    accepted: BTreeSet<String>,
}

impl World {
    async fn on(disk: &Path) -> Self {
        let (upstream, receiver) = (Upstream::start().await, Receiver::start().await);
        let echo = deployment("echo", "openai/echo-1", &upstream.openai_url(), "");
        let config = format!(
            "{}{}{}{OUTCOMES}{QUICK}hookgate: {{ballast_bytes: {BALLAST}}}\n",
            models(&[echo]),
            callbacks(&receiver, &[("posts", ", batch_size: 5, flush_interval: 0.2")]),
            webhooks(&[webhook("primary", &receiver, "")]),
        );
        let setup = Setup::new(BINARY, &config).env("RUST_LOG", DEBUG);
        std::os::unix::fs::symlink(disk, setup.data_dir()).expect("a new directory is writable");
        let gateway = setup.start().await;
        Self { upstream, receiver, gateway, accepted: BTreeSet::new() }
    }

    async fn calls(&mut self, count: usize) {
        for _ in 0..count {
            self.accepted.insert(call(&self.gateway.client(), "fine").await);
        }
    }

    /// Calls until one is refused; returns what its caller was told. Nothing else may happen.
    async fn call_until_refused(&mut self) -> String {
        let mut number = 0;
        loop {
            number += 1;
            assert!(number < 5_000, "the disk is full, and every call is accepted");
            let text = format!("{number} {}", "x".repeat(2_000));
            let seen = self.gateway.client().chat("echo", &text).await;
            if seen.code() == 503 {
                assert!(!seen.text().contains("xxx"), "nothing is served unrecorded");
                return seen.text();
            }
            assert_eq!((seen.code(), seen.content()), (200, text), "{}", seen.text());
            let id = seen.header("x-hookgate-request-id").expect("every admitted call is named");
            self.accepted.insert(id.to_owned());
        }
    }

    /// Calls until one is accepted, without any help.
    async fn call_until_accepted(&mut self) {
        let until = std::time::Instant::now() + DEADLINE;
        loop {
            let seen = self.gateway.client().chat("echo", "again").await;
            if seen.code() == 200 {
                let id = seen.header("x-hookgate-request-id").expect("it is named");
                self.accepted.insert(id.to_owned());
                return;
            }
            assert_eq!(seen.code(), 503, "{}", seen.text());
            assert!(std::time::Instant::now() < until, "still refused: {}", seen.text());
        }
    }

    async fn expect_all_told(&self) {
        for name in ["primary", "posts"] {
            wait_told(&self.receiver, name, &self.accepted).await;
        }
        assert!(dead_letters(&self.gateway.setup, &[]).await.contains("no dead letters"));
    }
}

#[test]
fn a_full_disk_refuses_new_calls_and_loses_none_that_was_accepted() {
    let test = "a_full_disk_refuses_new_calls_and_loses_none_that_was_accepted";
    on_a_small_disk(test, async |disk| {
        let mut world = World::on(&disk).await;
        world.calls(10).await;
        // Two calls are on their way while the disk fills up.
        let (plain, streamed) = (Gate::new(), Gate::new());
        world.upstream.push(Answer::echo().pause_before_head(&plain));
        let mut running = JoinSet::new();
        let client = world.gateway.client();
        running.spawn(async move { client.chat("echo", "plain").await });
        plain.reached_by(1).await;
        world.upstream.push(Answer::text("one two three").pause_after(2, &streamed));
        let open = world.gateway.client().open_stream("echo", "hi").await;
        let mut open = open.expect("it begins");
        open.read_until("one ").await.expect("the first word passes");

        fill(&disk);
        let refusal = world.call_until_refused().await;
        assert!(refusal.contains("disk") && refusal.contains("full"), "{refusal}");
        let ready = world.gateway.client().get("/health/readiness").await;
        assert_eq!(ready.code(), 503, "{}", ready.text());
        world.gateway.wait_for_log("full").await;

        plain.open();
        streamed.open();
        let seen = running.join_next().await.expect("it was spawned").expect("it does not panic");
        assert_eq!((seen.code(), seen.content().as_str()), (200, "plain"), "{}", seen.text());
        let id = |headers: &[(String, String)]| {
            let header = headers.iter().find(|(name, _)| name == "x-hookgate-request-id");
            header.expect("every admitted call is named").1.clone()
        };
        world.accepted.extend([id(&seen.headers), id(&open.headers)]);
        let rest = open.finish().await;
        assert!(rest.is_whole && rest.text().contains("[DONE]"), "{}", rest.text());
        world.expect_all_told().await;

        fs::remove_file(disk.join("filler")).expect("it is there");
        world.call_until_accepted().await;
        world.calls(10).await;
        world.expect_all_told().await;
        let World { receiver, gateway, accepted, .. } = world;
        assert_eq!(gateway.terminate().await.status.code(), Some(0));
        for name in ["primary", "posts"] {
            let distinct: BTreeSet<_> = told(&receiver.arrivals(), name).into_iter().collect();
            assert_eq!(distinct, accepted, "{name}: a call that was refused is nobody's news");
            expect_told_once(&receiver, name, &accepted);
        }
    });
}

#[test]
fn with_a_full_disk_and_a_receiver_that_is_down_a_crash_loses_nothing() {
    let test = "with_a_full_disk_and_a_receiver_that_is_down_a_crash_loses_nothing";
    on_a_small_disk(test, async |disk| {
        let mut world = World::on(&disk).await;
        world.receiver.go_down().await;
        world.calls(20).await;
        fill(&disk);
        world.call_until_refused().await;
        world.gateway = world.gateway.kill_and_restart().await;
        world.call_until_refused().await;
        world.receiver.come_up().await;
        world.expect_all_told().await;
        fs::remove_file(disk.join("filler")).expect("it is there");
        world.call_until_accepted().await;
        world.expect_all_told().await;
    });
}
