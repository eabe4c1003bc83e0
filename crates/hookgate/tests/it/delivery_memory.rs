//! A backlog costs disk, not memory.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
};

use testkit::{Gateway, Receiver, Upstream};
use tokio::task::JoinSet;

use crate::delivery_world::{
    OUTCOMES, QUICK, call, callbacks, calls, expect_told_once, start, wait_told, webhook, webhooks,
};

const CALLERS: usize = 8;

/// So many calls by several callers; returns their ids.
async fn many_calls(gateway: &Gateway, count: usize, text: &str) -> BTreeSet<String> {
    let ids = Arc::new(Mutex::new(BTreeSet::new()));
    let mut callers = JoinSet::new();
    for _ in 0..CALLERS {
        let (client, ids, text) = (gateway.client(), Arc::clone(&ids), text.to_owned());
        callers.spawn(async move {
            for _ in 0..count / CALLERS {
                let id = call(&client, &text).await;
                ids.lock().expect("no caller panicked").insert(id);
            }
        });
    }
    callers.join_all().await;
    Arc::try_unwrap(ids).expect("the callers are gone").into_inner().expect("none panicked")
}

async fn backlog(count: usize, text: &str, growth_max: u64) {
    let (upstream, mut receiver) = (Upstream::start().await, Receiver::start().await);
    let sections = format!(
        "{}{}{OUTCOMES}{QUICK}",
        callbacks(&receiver, &[("posts", ", batch_size: 500, flush_interval: 0.5")]),
        webhooks(&[webhook("primary", &receiver, "")]),
    );
    let gateway = start(&upstream, &sections).await;
    let mut ids = calls(&gateway, 50).await;
    for name in ["primary", "posts"] {
        wait_told(&receiver, name, &ids).await;
    }
    let before = gateway.resident_bytes();
    receiver.go_down().await;
    ids.extend(many_calls(&gateway, count, text).await);
    let with_backlog = gateway.resident_bytes();
    receiver.come_up().await;
    drain(&receiver, ids.len()).await;
    let after = gateway.resident_bytes();
    gateway.terminate().await;
    for name in ["primary", "posts"] {
        expect_told_once(&receiver, name, &ids);
    }
    let growth = with_backlog.max(after).saturating_sub(before);
    let mib = |bytes: u64| bytes >> 20;
    let all = [before, with_backlog, after].map(mib);
    assert!(growth < growth_max, "MiB at the start, with the backlog, and after it: {all:?}");
}

/// Waits until as many single events came; batches come faster.
async fn drain(receiver: &Receiver, count: usize) {
    for share in 1..=4 {
        // Not more than a count: the list is long, and looked at with each arrival.
        receiver.wait_for(count * share / 4).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twenty_thousand_small_calls_for_a_receiver_that_is_down_do_not_pile_up_in_memory() {
    backlog(20_000, "hi", 150 << 20).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn long_prompts_do_not_pile_up_in_memory_either() {
    // Prompts and answers are 384 MB, and what is sent of them twice as much. The bounds on what is
    // kept of it (the journal's tail, derived events, rendered bodies) come to about 120 MiB.
    backlog(2_000, &"long prompt ".repeat(8_000), 256 << 20).await;
}
