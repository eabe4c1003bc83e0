//! Dead letters, seen and sent again by `hookgate dead-letters`, beside a running gateway and
//! without one.

use std::collections::BTreeSet;

use testkit::{Gateway, Receiver, Reply, Upstream, receiver::Arrival};

use crate::delivery_world::{
    NO_LETTERS, OUTCOMES, call, calls, dead_letters, start, told, wait_failed, wait_letters,
    wait_told, webhook, webhooks,
};

const RETRY: &str = "retry: {max_attempts: 2, initial_delay_ms: 20, max_delay_ms: 60000}\n";

/// A gateway with two destinations, and a delivery that the one named `primary` refused for good.
async fn with_a_letter() -> (Upstream, Receiver, Gateway, Arrival) {
    let (upstream, receiver) = (Upstream::start().await, Receiver::start().await);
    let entries = [webhook("primary", &receiver, ""), webhook("other", &receiver, "")];
    let gateway = start(&upstream, &format!("{}{OUTCOMES}{RETRY}", webhooks(&entries))).await;
    let letter = bury(&gateway, &receiver, "primary", "poison").await;
    (upstream, receiver, gateway, letter)
}

/// A call whose outcome the destination refuses while others pass; returns the refused POST.
async fn bury(gateway: &Gateway, receiver: &Receiver, name: &str, text: &str) -> Arrival {
    let sign = format!("\"content\":\"{text}\"");
    receiver.answer_to(&sign, Reply::status(400));
    let client = gateway.client();
    call(&client, text).await;
    let query = format!("?{name}");
    let is_it = |arrival: &Arrival| {
        arrival.status == 400
            && arrival.path.ends_with(&query)
            && String::from_utf8_lossy(&arrival.body).contains(&sign)
    };
    let arrivals = receiver
        .wait_until("both to refuse it", |seen| {
            seen.iter().filter(|a| String::from_utf8_lossy(&a.body).contains(&sign)).count() >= 2
        })
        .await;
    for arrival in arrivals.iter().filter(|arrival| arrival.status == 400) {
        wait_failed(gateway, arrival, 1).await;
    }
    let refused = arrivals.into_iter().find(is_it).expect("it was refused");
    let other = BTreeSet::from([call(&client, "another").await]);
    wait_told(receiver, "primary", &other).await;
    wait_told(receiver, "other", &other).await;
    refused
}

/// The refused one, accepted at last.
async fn wait_again(receiver: &Receiver, refused: &Arrival) -> Arrival {
    let is_it = |arrival: &Arrival| {
        arrival.is_accepted()
            && arrival.path == refused.path
            && arrival.header("webhook-id") == refused.header("webhook-id")
    };
    let arrivals = receiver.wait_until("it to come again", |seen| seen.iter().any(is_it)).await;
    arrivals.into_iter().find(is_it).expect("waited for it")
}

#[tokio::test]
async fn the_running_gateway_sends_what_is_revived_under_the_same_id() {
    let (_upstream, receiver, gateway, letter) = with_a_letter().await;
    let said = wait_letters(&gateway.setup, 2).await;
    let id = letter.header("webhook-id").expect("every delivery has one");
    assert_eq!(said.lines().filter(|row| row.starts_with(id)).count(), 2, "{said}");
    let one = dead_letters(&gateway.setup, &["--destination", "primary"]).await;
    assert!(one.lines().count() == 2 && one.contains("primary"), "{one}");

    receiver.answer_alike();
    let said =
        dead_letters(&gateway.setup, &["retry", "--id", id, "--destination", "primary"]).await;
    assert!(said.starts_with("1 dead letter will be sent again"), "{said}");
    let again = wait_again(&receiver, &letter).await;
    assert_eq!(again.body, letter.body);
    let left = wait_letters(&gateway.setup, 1).await;
    assert!(left.contains("other") && !left.contains("primary"), "{left}");
    dead_letters(&gateway.setup, &["retry", "--all"]).await;
    let other = Arrival { path: letter.path.replace("primary", "other"), ..letter };
    wait_again(&receiver, &other).await;
    assert_eq!(dead_letters(&gateway.setup, &[]).await, NO_LETTERS);

    // Settled for good: a restart sends nothing again.
    let arrivals = receiver.arrivals().len();
    let stopped = gateway.terminate().await;
    let gateway = stopped.start().await;
    let ids = calls(&gateway, 1).await;
    wait_told(&receiver, "primary", &ids).await;
    gateway.terminate().await;
    assert_eq!(receiver.arrivals().len(), arrivals + 2);
}

#[tokio::test]
async fn what_is_revived_while_no_gateway_runs_goes_when_one_starts() {
    let (_upstream, receiver, gateway, letter) = with_a_letter().await;
    wait_letters(&gateway.setup, 2).await;
    let stopped = gateway.terminate().await;
    let said = dead_letters(&stopped.setup, &[]).await;
    assert_eq!(said.lines().count(), 3, "{said}");
    let said = dead_letters(&stopped.setup, &["retry", "--all"]).await;
    assert!(said.starts_with("2 dead letters will be sent again"), "{said}");
    assert_eq!(dead_letters(&stopped.setup, &[]).await, NO_LETTERS);
    receiver.answer_alike();
    let gateway = stopped.start().await;
    let again = wait_again(&receiver, &letter).await;
    assert_eq!(again.body, letter.body);
    assert_eq!(dead_letters(&gateway.setup, &[]).await, NO_LETTERS);
    let sent = told(&receiver.arrivals(), "primary");
    let distinct: BTreeSet<_> = sent.iter().collect();
    assert_eq!(sent.len(), distinct.len(), "once each: {sent:#?}");
}

#[tokio::test]
async fn a_revived_letter_that_is_refused_again_is_buried_again() {
    let (_upstream, receiver, gateway, letter) = with_a_letter().await;
    wait_letters(&gateway.setup, 2).await;
    let before = receiver.arrivals().len();
    dead_letters(&gateway.setup, &["retry", "--all"]).await;
    let refused = |seen: &[Arrival]| {
        let again = seen[before..].iter().filter(|arrival| arrival.status == 400);
        again.filter(|arrival| arrival.header("webhook-id") == letter.header("webhook-id")).count()
    };
    receiver.wait_until("both to refuse it again", |seen| refused(seen) >= 2).await;
    wait_failed(&gateway, &letter, 2).await;
    let other = Arrival { path: letter.path.replace("primary", "other"), ..letter.clone() };
    wait_failed(&gateway, &other, 2).await;
    let ids = calls(&gateway, 1).await;
    for name in ["primary", "other"] {
        wait_told(&receiver, name, &ids).await;
    }
    wait_letters(&gateway.setup, 2).await;
    assert_eq!(refused(&receiver.arrivals()), 2);
}

#[tokio::test]
async fn dead_letters_outlive_a_crash() {
    let (_upstream, _receiver, gateway, letter) = with_a_letter().await;
    let said = wait_letters(&gateway.setup, 2).await;
    assert!(said.contains(letter.header("webhook-id").expect("every delivery has one")));
    let gateway = gateway.kill_and_restart().await;
    assert_eq!(dead_letters(&gateway.setup, &[]).await, said);
}
