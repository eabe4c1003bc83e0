//! What is spent counts once, whatever happens; thresholds are told once; then callers are refused.

use std::{collections::BTreeMap, time::Instant};

use serde_json::{Value, json};
use testkit::{
    Client, DEADLINE, Gateway, Receiver, Upstream, client::Seen, gateway::Setup,
    receiver::accepted_items,
};

use crate::{
    delivery_world::{call, webhook, webhooks},
    support::BINARY,
    world::{deployment, models},
};

/// A word of an answer costs a dollar, and nothing else costs anything.
const PRICES: &str = ", input_cost_per_token: 0, output_cost_per_token: 1";

/// A gateway with these budgets, and a destination for everything.
async fn start(receiver: &Receiver, sections: &str) -> (Upstream, Gateway) {
    let upstream = Upstream::start().await;
    let echo = deployment("echo", "openai/echo-1", &upstream.openai_url(), PRICES);
    let config = format!(
        "{}{sections}{}events: {{subscribe: [completion, error, budget, rate_limit]}}\n\
         hookgate: {{ballast_bytes: 0, org_id: acme}}\n",
        models(&[echo]),
        webhooks(&[webhook("primary", receiver, "")]),
    );
    let gateway = Setup::new(BINARY, &config).start().await;
    (upstream, gateway)
}

/// An answer of so many words.
fn words(count: usize) -> String {
    vec!["word"; count].join(" ")
}

/// Calls until one is refused: counting lags by some milliseconds. Each that passes costs nothing
/// that the test counts on.
async fn wait_refused(client: &Client) -> Seen {
    let until = Instant::now() + DEADLINE;
    loop {
        let seen = client.chat("echo", "more").await;
        if seen.code() == 422 {
            return seen;
        }
        assert_eq!(seen.code(), 200, "{}", seen.text());
        assert!(Instant::now() < until, "nobody is refused");
    }
}

/// What a budget's events say, by id.
fn told(items: &[Value], matched: &Value) -> BTreeMap<String, Value> {
    let mut told = BTreeMap::new();
    let of_it = |item: &&Value| item["event"] == "budget" && item["matched"] == *matched;
    for item in items.iter().filter(of_it) {
        let id = item["event_id"].as_str().expect("every event has one").to_owned();
        // After a crash the same may be delivered again.
        let before = told.insert(id, item.clone());
        assert!(before.is_none_or(|before| before == *item), "told in two ways: {item}");
    }
    told
}

async fn wait_told(receiver: &Receiver, matched: &Value, thresholds: &[i64]) -> Vec<Value> {
    let what = format!("{} events of {matched}'s budget", thresholds.len());
    let enough = |items: &[Value]| told(items, matched).len() >= thresholds.len();
    let arrivals = receiver.wait_until(&what, |seen| enough(&accepted_items(seen))).await;
    let mut events: Vec<_> = told(&accepted_items(&arrivals), matched).into_values().collect();
    events.sort_by_key(|event| event["threshold"].as_i64());
    let seen: Vec<_> = events.iter().filter_map(|event| event["threshold"].as_i64()).collect();
    assert_eq!(seen, thresholds);
    events
}

#[tokio::test]
async fn thresholds_are_told_and_a_spent_budget_refuses_calls() {
    let receiver = Receiver::start().await;
    let (upstream, gateway) =
        start(&receiver, "budgets: [{scope: gateway, max_budget: 10, budget_duration: 1mo}]\n")
            .await;
    let client = gateway.client();
    call(&client, &words(5)).await;
    let events = wait_told(&receiver, &json!(""), &[50]).await;
    assert_eq!(events[0]["org_id"], "acme");
    assert_eq!(events[0]["limit_type"], "monthly");
    assert_eq!((&events[0]["current_spend"], &events[0]["budget_limit"]), (&json!(5), &json!(10)));
    call(&client, &words(4)).await;
    wait_told(&receiver, &json!(""), &[50, 80]).await;
    call(&client, &words(1)).await;
    wait_told(&receiver, &json!(""), &[50, 80, 95, 100]).await;

    let asked = upstream.requests().len();
    let refused = wait_refused(&client).await;
    let error = &refused.json()["error"];
    assert_eq!((&error["type"], &error["code"]), (&json!("budget_exceeded"), &json!("422")));
    // LiteLLM's words, then whose budget it is.
    let message = error["message"].as_str().unwrap_or_default();
    assert!(message.starts_with("Budget has been exceeded! Current cost: 1"), "{message}");
    assert!(message.contains(", Max budget: 10.0 (monthly budget of the gateway, "), "{message}");
    assert!(upstream.requests().len() <= asked + 1, "no provider is asked for a refused call");
    let id = refused.header("x-hookgate-request-id").expect("it is named").to_owned();
    let arrivals = receiver
        .wait_until("the refusal to be told", |seen| {
            accepted_items(seen).iter().any(|item| item["request_id"] == id.as_str())
        })
        .await;
    let items = accepted_items(&arrivals);
    let outcome =
        items.iter().find(|item| item["request_id"] == id.as_str() && item["event"] == "error");
    assert_eq!(outcome.expect("it is an error")["error_type"], "budget_exceeded");
}

#[tokio::test]
async fn a_key_that_is_spent_leaves_the_others_theirs() {
    let receiver = Receiver::start().await;
    let sections = "keys: [{name: app, key: sk-app-0001}, {name: other, key: sk-other-0001}]\n\
                    general_settings: {master_key: sk-master-0001}\n\
                    budgets: [{scope: key, match: '*', max_budget: 3, thresholds: [100]}]\n";
    let (_upstream, gateway) = start(&receiver, sections).await;
    let (app, other) =
        (gateway.client().with_key("sk-app-0001"), gateway.client().with_key("sk-other-0001"));
    // A stream counts as a plain call does, and so does a call that is not to be told of.
    let streamed = app.chat_stream("echo", &words(2)).await;
    assert_eq!(streamed.code(), 200, "{}", streamed.text());
    let mut body = testkit::client::chat_body("echo", "untold");
    body["no-log"] = json!(true);
    assert_eq!(app.post("/v1/chat/completions", &body).await.code(), 200);
    wait_refused(&app).await;
    call(&other, "still").await;
    let events = wait_told(&receiver, &json!("app"), &[100]).await;
    assert_eq!((&events[0]["scope"], &events[0]["limit_type"]), (&json!("key"), &json!("total")));
    wait_told(&receiver, &json!("other"), &[]).await;
}

#[tokio::test]
async fn kills_make_nothing_count_twice() {
    let receiver = Receiver::start().await;
    let budget = "budgets: [{scope: gateway, max_budget: 12, thresholds: [25, 50, 75, 100]}]\n";
    let (_upstream, mut gateway) = start(&receiver, budget).await;
    for _ in 0..11 {
        call(&gateway.client(), "one").await;
        // At once, so that it may be counted or not, stored or not, told or not.
        gateway = gateway.kill_and_restart().await;
    }
    // 11 dollars: a second count of any would be the twelfth.
    call(&gateway.client(), "one").await;
    wait_refused(&gateway.client()).await;
    let events = wait_told(&receiver, &json!(""), &[25, 50, 75, 100]).await;
    let spent: Vec<_> = events.iter().filter_map(|event| event["current_spend"].as_i64()).collect();
    assert_eq!(spent, [3, 6, 9, 12]);
    // In good order: whatever was still to come has come.
    let stopped = gateway.terminate().await;
    assert!(stopped.status.success(), "{:#?}", stopped.log());
    wait_told(&receiver, &json!(""), &[25, 50, 75, 100]).await;
}
