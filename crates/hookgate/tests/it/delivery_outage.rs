//! Receivers that are down, for a while and across restarts; destinations that come and go.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use testkit::{Gate, Receiver, Reply, Upstream, gateway::Setup, receiver::Arrival};

use crate::{
    delivery_world::{
        NO_LETTERS, OUTCOMES, QUICK, call, callbacks, calls, config, dead_letters,
        expect_told_once, of, start, told, wait_letters, wait_told, webhook, webhooks,
    },
    support::BINARY,
};

const ONE_AT_A_TIME: &str = "delivery: {concurrent_deliveries: 1}\n";

#[tokio::test]
async fn after_five_failures_in_a_row_only_probes_go_out_and_nothing_is_buried() {
    let (upstream, receiver) = (Upstream::start().await, Receiver::start().await);
    // The first probe comes after two seconds at least.
    let retry = "retry: {initial_delay_ms: 4000, max_delay_ms: 4000}\n";
    let webhooks = webhooks(&[webhook("primary", &receiver, ", headers: {X-Key: canary-key}")]);
    let sections = format!("{webhooks}{OUTCOMES}{retry}{ONE_AT_A_TIME}");
    let gateway = start(&upstream, &sections).await;
    receiver.set_default(Reply::status(503).body("back soon"));
    let ids = calls(&gateway, 20).await;
    let line = gateway.wait_for_log("The receiver is down.").await;
    for part in ["WARN", "destination=primary", "status 503: back soon"] {
        assert!(line.contains(part), "{part:?} is not in {line:?}");
    }
    let stopped = gateway.terminate().await;
    assert_eq!(stopped.status.code(), Some(0));
    assert_eq!(receiver.arrivals().len(), 5, "it was left alone from then on");
    assert!(!stopped.log().concat().contains("canary"), "{:#?}", stopped.log());

    receiver.set_default(Reply::status(200));
    let gateway = stopped.start().await;
    wait_told(&receiver, "primary", &ids).await;
    expect_told_once(&receiver, "primary", &ids);
    assert_eq!(receiver.arrivals().len(), 5 + 20);
    assert_eq!(dead_letters(&gateway.setup, &[]).await, NO_LETTERS);
}

#[tokio::test]
async fn a_receiver_that_comes_back_is_found_by_a_probe_and_gets_everything_once() {
    let (upstream, mut receiver) = (Upstream::start().await, Receiver::start().await);
    let retry = "retry: {max_attempts: 2, initial_delay_ms: 20, max_delay_ms: 60}\n";
    let sections = format!("{}{OUTCOMES}{retry}", webhooks(&[webhook("primary", &receiver, "")]));
    let gateway = start(&upstream, &sections).await;
    let mut ids = calls(&gateway, 2).await;
    wait_told(&receiver, "primary", &ids).await;
    receiver.set_default(Reply::status(500));
    ids.extend(calls(&gateway, 30).await);
    // Many more failures than any delivery has attempts.
    receiver.wait_for(2 + 40).await;
    receiver.go_down().await;
    ids.extend(calls(&gateway, 30).await);
    receiver.set_default(Reply::status(200));
    let failed = receiver.arrivals().len() - 2;
    receiver.come_up().await;
    wait_told(&receiver, "primary", &ids).await;
    let line = gateway.wait_for_log("The receiver is back.").await;
    assert!(line.contains("destination=primary"), "{line}");
    expect_told_once(&receiver, "primary", &ids);
    let attempts = receiver.arrivals().len() - failed;
    assert_eq!(attempts, ids.len(), "not one attempt more than there are events");
    assert_eq!(dead_letters(&gateway.setup, &[]).await, NO_LETTERS);
}

#[tokio::test]
async fn a_lone_event_outlives_any_number_of_failures_and_keeps_its_attempts() {
    a_lone_event_fails_while_nothing_passes(0).await;
}

#[tokio::test]
async fn a_lone_event_keeps_its_attempts_over_crashes_in_an_outage() {
    a_lone_event_fails_while_nothing_passes(3).await;
}

/// Fails far more often than it has attempts, with crashes on the way; then others pass, and one
/// more failure of its own is not one too many.
async fn a_lone_event_fails_while_nothing_passes(crashes: usize) {
    let (upstream, receiver) = (Upstream::start().await, Receiver::start().await);
    let retry = "retry: {max_attempts: 3, initial_delay_ms: 10, max_delay_ms: 50}\n";
    let sections = format!("{}{OUTCOMES}{retry}", webhooks(&[webhook("primary", &receiver, "")]));
    let mut gateway = start(&upstream, &sections).await;
    receiver.set_default(Reply::status(503));
    let lone = calls(&gateway, 1).await;
    receiver.wait_for(12).await;
    for life in 2..crashes + 2 {
        gateway = gateway.kill_and_restart().await;
        receiver.wait_for(life * 12).await;
    }
    receiver.answer_to("call 0", Reply::status(503));
    receiver.set_default(Reply::status(200));
    let client = gateway.client();
    let mut others = BTreeSet::from([call(&client, "another").await]);
    wait_told(&receiver, "primary", &others).await;
    let before = receiver.arrivals().len();
    receiver
        .wait_until("the lone event to fail once more", |seen| {
            seen[before..].iter().any(|arrival| arrival.status == 503)
        })
        .await;
    receiver.answer_alike();
    others.insert(call(&client, "yet another").await);
    let all = &lone | &others;
    wait_told(&receiver, "primary", &all).await;
    assert_eq!(dead_letters(&gateway.setup, &[]).await, NO_LETTERS);
}

#[tokio::test]
async fn what_a_receiver_never_takes_keeps_nothing_else_back() {
    let (upstream, receiver) = (Upstream::start().await, Receiver::start().await);
    let retry = "retry: {initial_delay_ms: 10, max_delay_ms: 20}\n";
    let sections = format!("{}{OUTCOMES}{retry}", webhooks(&[webhook("primary", &receiver, "")]));
    let gateway = start(&upstream, &sections).await;
    receiver.answer_to("poison", Reply::status(400));
    let client = gateway.client();
    call(&client, "poison").await;
    // With nothing else to tell by, the receiver is taken for down, and only probes go out.
    gateway.wait_for_log("The receiver is down.").await;
    receiver.wait_for(8).await;
    let mut ids = calls(&gateway, 20).await;
    wait_told(&receiver, "primary", &ids).await;
    // From now on others pass, so it is given up.
    while !gateway.log().iter().any(|line| line.contains("given up")) {
        ids.extend(calls(&gateway, 1).await);
    }
    wait_letters(&gateway.setup, 1).await;
    wait_told(&receiver, "primary", &ids).await;
    expect_told_once(&receiver, "primary", &ids);
}

#[tokio::test]
async fn everything_arrives_once_a_receiver_is_back_however_often_the_gateway_restarted() {
    let (upstream, mut receiver) = (Upstream::start().await, Receiver::start().await);
    let sections = format!(
        "{}{}{OUTCOMES}{QUICK}",
        callbacks(&receiver, &[("posts", ", batch_size: 4, flush_interval: 0.05")]),
        webhooks(&[webhook("primary", &receiver, "")]),
    );
    let mut gateway = start(&upstream, &sections).await;
    receiver.go_down().await;
    let mut ids = BTreeSet::new();
    for crash in [false, true, true, false] {
        ids.extend(calls(&gateway, 10).await);
        gateway = if crash {
            gateway.kill_and_restart().await
        } else {
            let stopped = gateway.terminate().await;
            assert_eq!(stopped.status.code(), Some(0), "{:#?}", stopped.log());
            stopped.start().await
        };
    }
    ids.extend(calls(&gateway, 10).await);
    gateway.wait_for_log("The receiver is down.").await;
    receiver.come_up().await;
    for name in ["primary", "posts"] {
        wait_told(&receiver, name, &ids).await;
        expect_told_once(&receiver, name, &ids);
    }
    assert_eq!(dead_letters(&gateway.setup, &[]).await, NO_LETTERS);
}

#[tokio::test]
async fn a_new_destination_gets_what_comes_later_and_one_that_is_back_what_it_missed() {
    let (upstream, receiver) = (Upstream::start().await, Receiver::start().await);
    let old = webhook("old", &receiver, "");
    let new = webhook("new", &receiver, "");
    let write = |names: &[&str]| {
        let entries: Vec<_> = names
            .iter()
            .map(|name| if *name == "old" { old.clone() } else { new.clone() })
            .collect();
        config(&upstream, &format!("{}{OUTCOMES}{QUICK}", webhooks(&entries)))
    };
    let mut lives = Vec::new();
    let mut gateway = start(&upstream, &webhooks(std::slice::from_ref(&old))).await;
    for names in [&["old"][..], &["old", "new"], &["old"], &["old", "new"]] {
        let stopped = gateway.terminate().await;
        stopped.setup.write_file("config.yaml", &write(names));
        gateway = stopped.start().await;
        lives.push(calls(&gateway, 3).await);
        wait_told(&receiver, "old", &lives[lives.len() - 1]).await;
    }
    let later = &(&lives[1] | &lives[2]) | &lives[3];
    wait_told(&receiver, "new", &later).await;
    gateway.terminate().await;
    expect_told_once(&receiver, "new", &later);
    expect_told_once(&receiver, "old", &(&lives[0] | &later));
}

#[tokio::test]
async fn a_destination_that_hangs_or_is_down_holds_up_no_other() {
    let (upstream, receiver) = (Upstream::start().await, Receiver::start().await);
    let mut gone = Receiver::start().await;
    let sections = format!(
        "{}{OUTCOMES}{QUICK}",
        webhooks(&[
            webhook("hanging", &receiver, ""),
            webhook("fine", &receiver, ""),
            webhook("gone", &gone, ""),
            webhook("refusing", &receiver, ""),
        ]),
    );
    let gateway = start(&upstream, &sections).await;
    gone.go_down().await;
    let gate = Gate::new();
    receiver.answer_to("?hanging", Reply::status(200).held_at(&gate));
    receiver.answer_to("?refusing", Reply::status(500));
    let ids = calls(&gateway, 60).await;
    wait_told(&receiver, "fine", &ids).await;
    let arrivals = receiver.arrivals();
    assert_eq!(told(&arrivals, "hanging"), Vec::<String>::new());
    assert!(of(&arrivals, "hanging").len() <= 10, "concurrent_deliveries bounds what hangs");
    assert_eq!(told(&arrivals, "refusing"), Vec::<String>::new());
    gate.open();
    receiver.answer_alike();
    gone.come_up().await;
    for (at, name) in [(&receiver, "hanging"), (&receiver, "refusing"), (&gone, "gone")] {
        wait_told(at, name, &ids).await;
        expect_told_once(at, name, &ids);
    }
    expect_told_once(&receiver, "fine", &ids);
}

#[tokio::test]
async fn a_receiver_that_hangs_holds_up_the_end_no_longer_than_it_may() {
    let (upstream, receiver) = (Upstream::start().await, Receiver::start().await);
    let settle = "delivery: {settle_ms: 400}\n";
    let sections = format!("{}{OUTCOMES}{settle}", webhooks(&[webhook("primary", &receiver, "")]));
    let gateway = start(&upstream, &sections).await;
    let gate = Gate::new();
    receiver.set_default(Reply::status(200).held_at(&gate));
    let ids = calls(&gateway, 3).await;
    gate.reached_by(3).await;
    let signalled = Instant::now();
    let stopped = gateway.terminate().await;
    assert_eq!(stopped.status.code(), Some(0), "{:#?}", stopped.log());
    let took = signalled.elapsed();
    assert!((Duration::from_millis(400)..Duration::from_secs(9)).contains(&took), "{took:?}");
    let log = stopped.log();
    let late = log.iter().find(|line| line.contains("not settled in time"));
    let late = late.unwrap_or_else(|| unreachable!("what is late is named: {log:#?}"));
    for part in ["destination=primary", "deliveries=3"] {
        assert!(late.contains(part), "{part:?} is not in {late:?}");
    }
    let first = receiver.arrivals();
    receiver.set_default(Reply::status(200));
    let _gateway = stopped.start().await;
    wait_told(&receiver, "primary", &ids).await;
    let again = receiver.arrivals();
    let id = |arrival: &Arrival| arrival.header("webhook-id").map(str::to_owned);
    let (before, after) = again.split_at(first.len());
    let (mut before, mut after): (Vec<_>, Vec<_>) =
        (before.iter().map(id).collect(), after.iter().map(id).collect());
    before.sort();
    after.sort();
    assert_eq!(before, after, "the same ids");
}

#[tokio::test]
async fn no_failure_tells_the_log_a_secret() {
    let (upstream, mut receiver) = (Upstream::start().await, Receiver::start().await);
    let host = receiver.url().replace("http://", "").replace("/hook", "");
    let entry = |name: &str, host: &str| {
        format!(
            "  {name}: {{url: 'http://user:canary-password@{host}/canary-path?{name}-canary-query',\
             secret: whsec_Y2FuYXJ5LXNlY3JldA==, headers: {{X-Key: canary-header}}}}\n"
        )
    };
    let unknown = entry("unknown", "canary.invalid");
    let sections = format!("{}{OUTCOMES}{QUICK}", webhooks(&[entry("known", &host), unknown]));
    let setup = Setup::new(BINARY, &config(&upstream, &sections)).env("RUST_LOG", "trace");
    let gateway = setup.start().await;
    receiver.push(Reply::reset());
    receiver.push(Reply::status(302).header("location", "http://elsewhere/"));
    receiver.push(Reply::status(503));
    calls(&gateway, 3).await;
    receiver.wait_for(3).await;
    let first = receiver.arrivals().remove(0);
    assert!(first.path.contains("canary-path") && first.header("authorization").is_some());
    receiver.go_down().await;
    calls(&gateway, 3).await;
    gateway.wait_for_log("The receiver is down. destination=known").await;
    gateway.wait_for_log("The receiver is down. destination=unknown").await;
    let stopped = gateway.terminate().await;
    for line in stopped.log() {
        let line = line.replace("canary.invalid", "");
        for secret in ["canary", "Y2FuYXJ5", "dXNlcjpjYW5hcnk"] {
            assert!(!line.contains(secret), "{line}");
        }
    }
}
