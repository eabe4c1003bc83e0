//! What happens to a delivery that fails: when it is tried again, how often, and where it ends.

use std::{collections::BTreeSet, time::Duration};

use testkit::{Gate, Gateway, Receiver, Reply, Upstream, receiver::Arrival};

use crate::delivery_world::{
    NO_LETTERS, OUTCOMES, QUICK, call, callbacks, calls, dead_letters, expect_told_once, now,
    start, wait_failed, wait_letters, wait_told, webhook, webhooks,
};

async fn primary(upstream: &Upstream, receiver: &Receiver, sections: &str) -> Gateway {
    let more = ", secret: whsec_dGhlIHNlY3JldCBvZiB0aGUgdGVzdHM=";
    let webhooks = webhooks(&[webhook("primary", receiver, more)]);
    start(upstream, &format!("{webhooks}{OUTCOMES}{sections}")).await
}

/// Waits until the newest delivery was accepted, and returns its attempts.
async fn attempts(receiver: &Receiver) -> Vec<Arrival> {
    let accepted = |seen: &[Arrival]| seen.last().is_some_and(Arrival::is_accepted);
    receiver.wait_until("an accepted delivery", accepted).await
}

#[tokio::test]
async fn whatever_may_pass_is_tried_again_under_the_same_id() {
    let (upstream, receiver) = (Upstream::start().await, Receiver::start().await);
    let gateway = primary(&upstream, &receiver, QUICK).await;
    let client = gateway.client();
    let mut cases: Vec<_> =
        [408, 429, 500, 502, 503].map(|s| (s.to_string(), Reply::status(s))).into();
    cases.push(("reset".to_owned(), Reply::reset()));
    for (case, reply) in cases {
        receiver.clear();
        receiver.push(reply);
        let id = call(&client, &case).await;
        let tried = attempts(&receiver).await;
        assert_eq!(tried.len(), 2, "{case}: {tried:#?}");
        assert!(!tried[0].is_accepted() && tried[1].is_accepted(), "{case}");
        assert_eq!(tried[0].body, tried[1].body, "{case}");
        assert_eq!(tried[0].header("webhook-id"), tried[1].header("webhook-id"), "{case}");
        let event = tried[1].json();
        assert_eq!(event["request_id"], id, "{case}");
        assert_eq!(event["event_id"].as_str(), tried[1].header("webhook-id"), "{case}");
    }
    assert_eq!(dead_letters(&gateway.setup, &[]).await, NO_LETTERS);
}

#[tokio::test]
async fn the_statuses_worth_another_attempt_are_the_configured_ones() {
    let (upstream, receiver) = (Upstream::start().await, Receiver::start().await);
    let retry = "retry: {initial_delay_ms: 20, max_delay_ms: 60000, \
                 retryable_status_codes: [418]}\n";
    let gateway = primary(&upstream, &receiver, retry).await;
    let client = gateway.client();
    receiver.push(Reply::status(418));
    call(&client, "a teapot").await;
    assert_eq!(attempts(&receiver).await.len(), 2);
    receiver.push(Reply::status(503));
    call(&client, "not in the list").await;
    let refused = receiver.wait_for(3).await.remove(2);
    wait_failed(&gateway, &refused, 1).await;
    call(&client, "another").await;
    gateway.wait_for_log("given up").await;
    assert!(wait_letters(&gateway.setup, 1).await.contains("status 503"));
}

#[tokio::test]
async fn a_receiver_that_does_not_answer_in_time_is_tried_again() {
    let (upstream, receiver) = (Upstream::start().await, Receiver::start().await);
    let more = ", timeout_ms: 300";
    let webhooks = webhooks(&[webhook("primary", &receiver, more)]);
    let gateway = start(&upstream, &format!("{webhooks}{OUTCOMES}{QUICK}")).await;
    let gate = Gate::new();
    receiver.push(Reply::status(200).held_at(&gate));
    let ids = calls(&gateway, 1).await;
    let tried = attempts(&receiver).await;
    assert_eq!(tried.len(), 2, "{tried:#?}");
    let gap = tried[1].at - tried[0].at;
    assert!(gap >= Duration::from_millis(290), "it had its 300 ms, not {gap:?}");
    assert_eq!(tried[0].header("webhook-id"), tried[1].header("webhook-id"));
    expect_told_once(&receiver, "primary", &ids);
}

#[tokio::test]
async fn what_cannot_pass_is_buried_with_the_reason_once_others_pass() {
    let (upstream, receiver) = (Upstream::start().await, Receiver::start().await);
    let retry = "retry: {initial_delay_ms: 20, max_delay_ms: 60000}\n";
    let gateway = primary(&upstream, &receiver, retry).await;
    let client = gateway.client();
    let cases = [
        (Reply::status(400).body("{\"error\":\"no such field\"}"), "status 400: {\"error\":"),
        (Reply::status(401), "status 401"),
        (Reply::status(404).body("<h1>gone</h1>\x1b[2J\nnot \0here"), "status 404: <h1>gone</h1>"),
        (Reply::status(301).header("location", "/elsewhere"), "redirects are not followed"),
        (Reply::status(422), "status 422"),
        (Reply::status(599), "status 599"),
    ];
    let count = cases.len();
    let mut ids = Vec::new();
    for (number, (reply, reason)) in cases.into_iter().enumerate() {
        receiver.clear();
        receiver.push(reply);
        call(&client, "to be refused").await;
        let refused = receiver.wait_for(1).await.remove(0);
        wait_failed(&gateway, &refused, 1).await;
        let other = BTreeSet::from([call(&client, "another").await]);
        wait_told(&receiver, "primary", &other).await;
        let id = refused.header("webhook-id").expect("every delivery has one").to_owned();
        let buried = format!("shows it. destination=primary delivery.id={id}");
        let line = gateway.wait_for_log(&buried).await;
        for part in ["WARN", "given up", "destination=primary", reason, "hookgate dead-letters"] {
            let plain = line.replace("\\\"", "\"");
            assert!(plain.contains(part), "{part:?} is not in {line:?}");
        }
        assert!(!line.contains("\u{1b}[2J") && !line.contains('\0'), "{line:?}");
        let listed = wait_letters(&gateway.setup, number + 1).await;
        let row = listed.lines().find(|row| row.starts_with(&id)).expect("it is listed");
        for part in ["primary", " 1 ", reason] {
            assert!(row.contains(part), "{part:?} is not in {row:?}");
        }
        // Once: it was not tried again.
        assert_eq!(receiver.arrivals().len(), 2);
        ids.push(id);
    }
    let distinct: BTreeSet<_> = ids.iter().collect();
    assert_eq!(distinct.len(), count);
}

/// A delivery that always fails while others pass is tried `wanted` times.
async fn expect_attempts(gateway: &Gateway, receiver: &Receiver, wanted: usize) {
    receiver.answer_to("poison", Reply::status(503).body("not this one"));
    let client = gateway.client();
    call(&client, "poison").await;
    let poisoned = |seen: &[Arrival]| {
        let poisoned = seen.iter().filter(|arrival| arrival.status == 503);
        poisoned.count()
    };
    for number in 1..=wanted {
        let attempt = |seen: &[Arrival]| poisoned(seen) >= number;
        let arrivals = receiver.wait_until(&format!("attempt {number}"), attempt).await;
        let refused = arrivals.iter().find(|arrival| arrival.status == 503).expect("waited for it");
        wait_failed(gateway, refused, number).await;
        let other = BTreeSet::from([call(&client, "another").await]);
        let tell = |seen: &[Arrival]| {
            let told = testkit::receiver::accepted_items(seen);
            told.iter().any(|item| other.contains(&crate::delivery_world::request_id(item)))
        };
        receiver.wait_until("another to pass", tell).await;
    }
    gateway.wait_for_log("given up").await;
    // A call more: it would have been sent again by then.
    calls(gateway, 3).await;
    let arrivals = receiver.wait_for(wanted + wanted + 3).await;
    assert_eq!(poisoned(&arrivals), wanted, "{arrivals:#?}");
    let tried: Vec<_> = arrivals.iter().filter(|arrival| arrival.status == 503).collect();
    let ids: BTreeSet<_> = tried.iter().map(|arrival| arrival.header("webhook-id")).collect();
    assert_eq!(ids.len(), 1, "{ids:?}");
    let said = wait_letters(&gateway.setup, 1).await;
    let row = said.lines().nth(1).expect("it is listed");
    for part in [format!(" {wanted} "), "status 503: not this one".to_owned()] {
        assert!(row.contains(&part), "{part:?} is not in {row:?}");
    }
}

#[tokio::test]
async fn a_delivery_that_always_fails_while_others_pass_has_its_attempts_and_no_more() {
    let (upstream, receiver) = (Upstream::start().await, Receiver::start().await);
    let retry = "retry: {max_attempts: 3, initial_delay_ms: 20, max_delay_ms: 60000}\n";
    let gateway = primary(&upstream, &receiver, retry).await;
    expect_attempts(&gateway, &receiver, 3).await;
}

#[tokio::test]
async fn max_retries_of_a_callback_are_the_attempts_after_the_first() {
    for (retries, attempts) in [(0, 1), (2, 3)] {
        let (upstream, receiver) = (Upstream::start().await, Receiver::start().await);
        let more = format!(", batch_size: 1, max_retries: {retries}, retry_delay: 0.02");
        let gateway = start(&upstream, &callbacks(&receiver, &[("posts", &more)])).await;
        expect_attempts(&gateway, &receiver, attempts).await;
    }
}

#[tokio::test]
async fn retry_after_is_waited_for_in_seconds_and_as_a_date() {
    let (upstream, receiver) = (Upstream::start().await, Receiver::start().await);
    let gateway = primary(&upstream, &receiver, QUICK).await;
    for (status, is_date, least) in [(429, false, 2_000), (503, true, 900)] {
        receiver.clear();
        // A date has no fraction: up to a second is lost.
        let date = now().plus(Duration::from_secs(3)).as_secs();
        let date = jiff::Timestamp::from_second(date)
            .expect("it is in range")
            .strftime("%a, %d %b %Y %H:%M:%S GMT")
            .to_string();
        let value = if is_date { date } else { "2".to_owned() };
        receiver.push(Reply::status(status).header("Retry-After", &value));
        call(&gateway.client(), "hi").await;
        let tried = attempts(&receiver).await;
        assert_eq!(tried.len(), 2, "{value}: {tried:#?}");
        let gap = tried[1].at - tried[0].at;
        assert!(gap >= Duration::from_millis(least), "{value}: after {gap:?}");
        assert!(gap < Duration::from_secs(15), "{value}: after {gap:?}");
    }
}

#[tokio::test]
async fn a_receiver_cannot_ask_for_more_patience_than_is_configured() {
    let (upstream, receiver) = (Upstream::start().await, Receiver::start().await);
    let retry = "retry: {initial_delay_ms: 20, max_delay_ms: 100, retry_after_max_ms: 700}\n";
    let gateway = primary(&upstream, &receiver, retry).await;
    receiver.push(Reply::status(503).header("Retry-After", "3600"));
    calls(&gateway, 1).await;
    let tried = attempts(&receiver).await;
    assert_eq!(tried.len(), 2);
    assert!(tried[1].at - tried[0].at >= Duration::from_millis(690));
}

#[tokio::test]
async fn retry_after_holds_for_everything_that_goes_to_the_receiver() {
    let (upstream, receiver) = (Upstream::start().await, Receiver::start().await);
    let gateway = primary(&upstream, &receiver, QUICK).await;
    receiver.push(Reply::status(429).header("Retry-After", "2"));
    let first = calls(&gateway, 1).await;
    let refused = receiver.wait_for(1).await.remove(0);
    wait_failed(&gateway, &refused, 1).await;
    let ids = &first | &calls(&gateway, 5).await;
    wait_told(&receiver, "primary", &ids).await;
    let arrivals = receiver.arrivals();
    let soonest = arrivals[1..].iter().map(|arrival| arrival.at - refused.at).min();
    assert!(soonest >= Some(Duration::from_secs(2)), "{soonest:?}");
    expect_told_once(&receiver, "primary", &ids);
}

#[tokio::test]
async fn a_rate_limit_spaces_deliveries_out_and_loses_none() {
    let (upstream, receiver) = (Upstream::start().await, Receiver::start().await);
    let entry = webhook("primary", &receiver, ", rate_limit: 10");
    let gateway = start(&upstream, &format!("{}{OUTCOMES}", webhooks(&[entry]))).await;
    let ids = calls(&gateway, 12).await;
    wait_told(&receiver, "primary", &ids).await;
    let arrivals = receiver.arrivals();
    let whole = arrivals[11].at - arrivals[0].at;
    // Eleven gaps of 100 ms; how long the first and the last were under way is not known.
    assert!(whole > Duration::from_millis(1_050), "twelve in {whole:?}");
    expect_told_once(&receiver, "primary", &ids);
}
