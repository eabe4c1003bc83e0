//! What a crash leaves open is told once; and one process at a time has the data.

use testkit::{Answer, DEADLINE, Gate, Receiver, Upstream, receiver::accepted_items};
use tokio::task::JoinSet;

use crate::delivery_world::{
    QUICK, call, callbacks, calls, of, request_id, start, wait_told, webhook, webhooks,
};

#[tokio::test]
async fn a_call_that_a_crash_cut_off_is_told_as_interrupted_exactly_once() {
    let (upstream, receiver) = (Upstream::start().await, Receiver::start().await);
    let sections = format!(
        "{}{}events: {{subscribe: [completion, error, streaming]}}\n{QUICK}",
        callbacks(&receiver, &[("posts", ", batch_size: 1")]),
        webhooks(&[webhook("primary", &receiver, "")]),
    );
    let gateway = start(&upstream, &sections).await;
    let done = call(&gateway.client(), "done before").await;
    let (gate, plain_gate) = (Gate::new(), Gate::new());
    upstream.push(Answer::echo().pause_before_head(&plain_gate));
    let mut waiting = JoinSet::new();
    let client = gateway.client();
    waiting.spawn(async move { client.chat("echo", "plain").await });
    plain_gate.reached_by(1).await;
    // Its admission is committed by the time a later call has its first byte.
    upstream.push(Answer::text("one two three").pause_after(2, &gate));
    let mut open = gateway.client().open_stream("echo", "hi").await.expect("it begins");
    open.read_until("one ").await.expect("the first word passes");
    let streamed = open.headers.iter().find(|(name, _)| name == "x-hookgate-request-id");
    let streamed = streamed.expect("every admitted call is named").1.clone();

    let mut gateway = gateway.kill_and_restart().await;
    assert!(!open.finish().await.is_whole, "the caller's stream broke");
    let plain = waiting.join_next().await.expect("it was spawned").expect("it does not panic");
    assert_eq!(plain.status, None, "nothing was answered");
    gateway.wait_for_log("Calls that the last run left open are settled. calls=2").await;
    let interrupted = |arrivals: &[testkit::receiver::Arrival], name: &str| {
        let items = accepted_items(&of(arrivals, name));
        let is_it = |item: &serde_json::Value| {
            item["error_type"] == "interrupted"
                || item["error_str"].as_str().is_some_and(|text| text.contains("crashed"))
        };
        items.into_iter().filter(is_it).collect::<Vec<_>>()
    };
    for name in ["primary", "posts"] {
        receiver.wait_until(name, |seen| interrupted(seen, name).len() >= 2).await;
    }
    for _ in 0..2 {
        // In good order, so that all that was delivered is known.
        gateway = gateway.terminate().await.start().await;
        let ids = calls(&gateway, 1).await;
        wait_told(&receiver, "primary", &ids).await;
        wait_told(&receiver, "posts", &ids).await;
        assert!(gateway.log().iter().filter(|line| line.contains("are settled")).count() == 1);
    }
    let arrivals = receiver.arrivals();
    for name in ["primary", "posts"] {
        let told = interrupted(&arrivals, name);
        assert_eq!(told.len(), 2, "{name}: {told:#?}");
        let mut ids: Vec<_> = told.iter().map(request_id).collect();
        ids.sort();
        ids.dedup();
        assert_eq!(ids.len(), 2, "{name}: one for each call");
        assert!(ids.contains(&streamed) && !ids.contains(&done), "{name}: {ids:?}");
    }
    let told = interrupted(&arrivals, "primary");
    assert!(told.iter().all(|event| event["severity"] == "critical"), "{told:#?}");
    // Nothing of the stream came after its end.
    let of_stream: Vec<_> = of(&arrivals, "primary")
        .iter()
        .map(testkit::receiver::Arrival::json)
        .filter(|event| event["request_id"] == streamed)
        .collect();
    let last = of_stream.last().expect("it was told");
    assert_eq!(last["error_type"], "interrupted", "{of_stream:#?}");
}

#[tokio::test]
async fn a_second_process_on_the_same_data_is_refused_and_the_first_goes_on() {
    let (upstream, receiver) = (Upstream::start().await, Receiver::start().await);
    let gateway = start(&upstream, &webhooks(&[webhook("primary", &receiver, "")])).await;
    let data = gateway.setup.data_dir();
    let data = data.to_str().expect("its name is text");
    let args = ["serve", "--config", "config.yaml", "--port", "0", "--data-dir", data];
    let second = tokio::time::timeout(DEADLINE, gateway.setup.command(&args).output()).await;
    let output = second.expect("it ends by itself").expect("the binary is there");
    let said = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    assert_eq!(output.status.code(), Some(1), "{said}");
    for part in [data, "in use by another hookgate", "--data-dir"] {
        assert!(said.contains(part), "{part:?} is not in {said:?}");
    }
    let ids = calls(&gateway, 1).await;
    wait_told(&receiver, "primary", &ids).await;
    // Once the first is gone, even by a crash, another may have it.
    let gateway = gateway.kill_and_restart().await;
    let ids = calls(&gateway, 1).await;
    wait_told(&receiver, "primary", &ids).await;
}
