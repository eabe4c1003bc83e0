//! Receivers that take only so many requests a second, and answer 429 beyond.

use testkit::{Receiver, Upstream, receiver::Arrival};

use crate::delivery_world::{
    NO_LETTERS, OUTCOMES, calls, dead_letters, expect_told_once, start, webhook, webhooks,
};

const PER_SECOND: u32 = 200;
/// Longer than this machine may look elsewhere.
const BURST: u32 = 100;
const BACKLOG: usize = 500;

/// Every arrival, once a receiver that was down has taken a backlog.
async fn drained(more: &str) -> Vec<Arrival> {
    let (upstream, mut receiver) = (Upstream::start().await, Receiver::start().await);
    receiver.go_down().await;
    let retry = "retry: {initial_delay_ms: 100, max_delay_ms: 200}\n";
    let webhooks = webhooks(&[webhook("primary", &receiver, more)]);
    let gateway = start(&upstream, &format!("{webhooks}{OUTCOMES}{retry}")).await;
    let ids = calls(&gateway, BACKLOG).await;
    receiver.cap(PER_SECOND, BURST);
    receiver.come_up().await;
    let is_taken = |arrival: &&Arrival| arrival.is_accepted();
    let all_taken = |seen: &[Arrival]| seen.iter().filter(is_taken).count() >= BACKLOG;
    let arrivals = receiver.wait_until("the backlog to drain", all_taken).await;
    expect_told_once(&receiver, "primary", &ids);
    assert_eq!(dead_letters(&gateway.setup, &[]).await, NO_LETTERS);
    arrivals
}

fn refused(arrivals: &[Arrival]) -> usize {
    arrivals.iter().filter(|arrival| arrival.status == 429).count()
}

#[tokio::test]
async fn a_backlog_drains_at_the_rate_that_was_set_and_none_of_it_is_refused() {
    assert_eq!(refused(&drained(&format!(", rate_limit: {PER_SECOND}")).await), 0);
}

#[tokio::test]
async fn a_backlog_drains_without_a_rate_too_by_what_the_receiver_takes() {
    let arrivals = drained("").await;
    let refused = refused(&arrivals);
    assert!(refused > 0, "it was never asked for more than it takes");
    assert!(refused < BACKLOG / 5, "{refused} of {} were refused", arrivals.len());
}
