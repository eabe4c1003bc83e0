//! Signatures, checked by code that is not ours, and the headers around them.

use hmac::{Hmac, KeyInit, Mac};
use sha2::{Sha256, Sha512};
use standardwebhooks::Webhook;
use testkit::{Receiver, Reply, Upstream, gateway::Setup, receiver::Arrival};

use crate::delivery_world::{
    OUTCOMES, QUICK, calls, config, now, of, start, wait_told, webhook, webhooks,
};

const STANDARD: &str = "whsec_dGhlIHNlY3JldCBvZiB0aGUgdGVzdHM=";
/// What that encodes.
const STANDARD_KEY: &[u8] = b"the secret of the tests";
const PLAIN: &str = "a plain secret";

/// Headers as the verifier takes them.
pub(crate) fn header_map(arrival: &Arrival) -> http::HeaderMap {
    let headers = arrival.headers.iter();
    headers
        .filter_map(|(name, value)| {
            Some((name.parse::<http::HeaderName>().ok()?, value.parse().ok()?))
        })
        .collect()
}

/// An HMAC in hexadecimal.
fn hex<M: Mac + KeyInit>(key: &[u8], parts: &[&[u8]]) -> String {
    let mut mac = <M as KeyInit>::new_from_slice(key).expect("HMAC takes keys of any length");
    for part in parts {
        mac.update(part);
    }
    let code = mac.finalize().into_bytes();
    code.iter().flat_map(|byte| [byte >> 4, byte & 15]).map(digit).collect()
}

fn digit(value: u8) -> char {
    char::from_digit(u32::from(value), 16).expect("half a byte")
}

/// Each destination's only delivery.
async fn deliveries(sections: &str, names: &[&str], receiver: &Receiver) -> Vec<Arrival> {
    let upstream = Upstream::start().await;
    let gateway = start(&upstream, &format!("{sections}{OUTCOMES}{QUICK}")).await;
    let ids = calls(&gateway, 1).await;
    for name in names {
        wait_told(receiver, name, &ids).await;
    }
    gateway.terminate().await;
    let arrivals = receiver.arrivals();
    names.iter().map(|name| of(&arrivals, name).remove(0)).collect()
}

fn standard(arrival: &Arrival, webhook: &Webhook) -> bool {
    webhook.verify(&arrival.body, &header_map(arrival)).is_ok()
}

#[tokio::test]
async fn standard_webhooks_verifier_accepts_events_and_nothing_that_was_changed() {
    let receiver = Receiver::start().await;
    let sections = webhooks(&[
        webhook("coded", &receiver, &format!(", secret: {STANDARD}")),
        webhook("plain", &receiver, &format!(", secret: {PLAIN}")),
        webhook("bare", &receiver, ""),
    ]);
    let arrived = deliveries(&sections, &["coded", "plain", "bare"], &receiver).await;
    let [coded, plain, bare] = arrived.as_slice() else { panic!("three destinations") };
    let of_coded = Webhook::new(STANDARD).expect("it is a secret");
    let of_plain = Webhook::from_bytes(PLAIN.as_bytes().to_vec()).expect("it is a secret");
    assert!(standard(coded, &of_coded) && standard(plain, &of_plain));
    assert!(!standard(coded, &of_plain) && !standard(plain, &of_coded));
    for name in ["webhook-id", "webhook-timestamp", "webhook-signature"] {
        let mut changed = coded.clone();
        let (_, value) = changed.headers.iter_mut().find(|(n, _)| n == name).expect("it is sent");
        *value = match name {
            "webhook-timestamp" => (value.parse::<i64>().expect("it is a number") - 1).to_string(),
            _ => value.replace(['0', '1', 'A', 'a', 'e'], "2"),
        };
        assert!(!standard(&changed, &of_coded), "{name}");
    }
    let mut changed = coded.clone();
    changed.body = [&changed.body[..], b" "].concat().into();
    assert!(!standard(&changed, &of_coded));
    // One event: the same id whoever gets it, and signed or not.
    assert_eq!(coded.header("webhook-id"), coded.json()["event_id"].as_str());
    assert_eq!(coded.header("webhook-id"), bare.header("webhook-id"));
    for name in ["webhook-signature", "webhook-timestamp", "x-webhook-signature"] {
        assert_eq!(bare.header(name), None, "{name} without a secret");
    }
}

#[tokio::test]
async fn the_gateway_s_own_header_signs_the_timestamp_and_the_body() {
    let receiver = Receiver::start().await;
    let sections = webhooks(&[
        webhook("coded", &receiver, &format!(", secret: {STANDARD}")),
        webhook("plain", &receiver, &format!(", secret: {PLAIN}")),
        webhook("body", &receiver, &format!(", secret: {PLAIN}, signed_content: body")),
        webhook(
            "posts",
            &receiver,
            &format!(", secret: {PLAIN}, format: generic_api, batch_size: 1"),
        ),
    ]);
    let names = ["coded", "plain", "body", "posts"];
    let arrived = deliveries(&sections, &names, &receiver).await;
    for (name, arrival) in names.into_iter().zip(&arrived) {
        let timestamp = arrival.header("x-webhook-timestamp").expect("it is sent");
        let key = if name == "coded" { STANDARD_KEY } else { PLAIN.as_bytes() };
        let signed: &[&[u8]] = match name {
            "body" => &[&arrival.body],
            _ => &[timestamp.as_bytes(), b".", &arrival.body],
        };
        let expected = format!("sha256={}", hex::<Hmac<Sha256>>(key, signed));
        assert_eq!(arrival.header("x-webhook-signature"), Some(expected.as_str()), "{name}");
        let age = now().as_secs() - timestamp.parse::<i64>().expect("seconds");
        assert!((0..60).contains(&age), "{name}: {age} s");
        assert!(arrival.header("webhook-id").is_some(), "{name}");
        assert!(arrival.header("webhook-signature").is_some(), "{name}");
    }
}

#[tokio::test]
async fn algorithm_and_header_are_the_configured_ones() {
    let receiver = Receiver::start().await;
    let entry = webhook("primary", &receiver, &format!(", secret: {STANDARD}"));
    let security = "security: {signature_algorithm: sha512, signature_header: X-My-Signature}\n";
    let sections = format!("{}{security}", webhooks(&[entry]));
    let arrival = deliveries(&sections, &["primary"], &receiver).await.remove(0);
    let timestamp = arrival.header("x-webhook-timestamp").expect("it is sent");
    let signed: &[&[u8]] = &[timestamp.as_bytes(), b".", &arrival.body];
    let expected = format!("sha512={}", hex::<Hmac<Sha512>>(STANDARD_KEY, signed));
    assert_eq!(arrival.header("x-my-signature"), Some(expected.as_str()));
    assert_eq!(arrival.header("x-webhook-signature"), None);
    // That of Standard Webhooks is what its specification says.
    assert!(standard(&arrival, &Webhook::new(STANDARD).expect("it is a secret")));
}

#[tokio::test]
async fn in_a_rotation_old_and_new_receivers_accept_the_same_event() {
    let receiver = Receiver::start().await;
    let new = "whsec_dGhlIG5ldyBzZWNyZXQ=";
    let entry = webhook("primary", &receiver, &format!(", secret: [{new}, {STANDARD}]"));
    let arrival = deliveries(&webhooks(&[entry]), &["primary"], &receiver).await.remove(0);
    for secret in [new, STANDARD] {
        assert!(standard(&arrival, &Webhook::new(secret).expect("it is a secret")), "{secret}");
    }
    let timestamp = arrival.header("x-webhook-timestamp").expect("it is sent");
    let signed: &[&[u8]] = &[timestamp.as_bytes(), b".", &arrival.body];
    let expected = format!("sha256={}", hex::<Hmac<Sha256>>(b"the new secret", signed));
    assert_eq!(arrival.header("x-webhook-signature"), Some(expected.as_str()));
}

#[tokio::test]
async fn users_headers_go_along_and_win_where_they_may() {
    let receiver = Receiver::start().await;
    let headers = ", headers: {Authorization: Bearer abc, X-Own: 'a, b', \
                   Content-Type: application/x-ndjson, User-Agent: mine/1}";
    let sections = webhooks(&[
        webhook("primary", &receiver, &format!("{headers}, secret: {STANDARD}, method: PUT")),
        webhook("posts", &receiver, &format!("{headers}, format: generic_api, batch_size: 1")),
        webhook("none", &receiver, ""),
    ]);
    let arrived = deliveries(&sections, &["primary", "posts", "none"], &receiver).await;
    for arrival in &arrived[..2] {
        let wanted = [
            ("authorization", "Bearer abc"),
            ("x-own", "a, b"),
            ("content-type", "application/x-ndjson"),
            ("user-agent", "mine/1"),
        ];
        for (name, value) in wanted {
            let values: Vec<_> = arrival.headers.iter().filter(|(n, _)| n == name).collect();
            assert_eq!(values.len(), 1, "{name}: {values:?}");
            assert_eq!(values[0].1, value);
        }
    }
    let methods: Vec<_> = arrived.iter().map(|arrival| arrival.method.as_str()).collect();
    assert_eq!(methods, ["PUT", "POST", "POST"]);
    let none = &arrived[2];
    assert_eq!(none.header("content-type"), Some("application/json"));
    assert!(none.header("user-agent").is_some_and(|agent| agent.starts_with("hookgate/")));
}

#[tokio::test]
async fn another_attempt_is_signed_anew() {
    let (upstream, receiver) = (Upstream::start().await, Receiver::start().await);
    let entry = webhook("primary", &receiver, &format!(", secret: {STANDARD}"));
    let gateway = start(&upstream, &format!("{}{OUTCOMES}{QUICK}", webhooks(&[entry]))).await;
    // Long enough for the timestamp to differ.
    receiver.push(Reply::status(503).header("Retry-After", "1"));
    let ids = calls(&gateway, 1).await;
    wait_told(&receiver, "primary", &ids).await;
    let arrivals = receiver.arrivals();
    let verifier = Webhook::new(STANDARD).expect("it is a secret");
    let [first, second] = arrivals.as_slice() else { panic!("two attempts") };
    assert!(standard(first, &verifier) && standard(second, &verifier));
    assert_eq!(first.header("webhook-id"), second.header("webhook-id"));
    assert_ne!(first.header("webhook-timestamp"), second.header("webhook-timestamp"));
}

/// What `hookgate verify` says of a delivery, and whether it accepts it.
async fn verify(setup: &Setup, name: &str, headers: &[(&str, &str)], body: &str) -> (bool, String) {
    setup.write_file("body.json", body);
    let headers: Vec<_> = headers.iter().map(|(name, value)| format!("{name}: {value}")).collect();
    let mut args = vec!["verify", "--config", "config.yaml", "--destination", name, "body.json"];
    args.extend(headers.iter().flat_map(|header| ["-H", header.as_str()]));
    let output = setup.command(&args).output().await.expect("the binary was built for this test");
    let said = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&said).into_owned())
}

#[tokio::test]
async fn the_verifier_accepts_what_was_sent_and_refuses_what_is_changed_or_too_old() {
    let (upstream, receiver) = (Upstream::start().await, Receiver::start().await);
    let sections = webhooks(&[
        webhook("primary", &receiver, &format!(", secret: {PLAIN}")),
        webhook("helicone", &receiver, &format!(", secret: {PLAIN}, format: helicone")),
        webhook("bare", &receiver, ""),
    ]);
    let gateway = start(&upstream, &format!("{sections}{OUTCOMES}")).await;
    let ids = calls(&gateway, 1).await;
    wait_told(&receiver, "primary", &ids).await;
    for name in ["primary", "helicone"] {
        let arrivals = receiver.wait_until(name, |seen| !of(seen, name).is_empty()).await;
        let arrival = of(&arrivals, name).remove(0);
        let body = String::from_utf8_lossy(&arrival.body).into_owned();
        let headers: Vec<_> =
            arrival.headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let (is_good, said) = verify(&gateway.setup, name, &headers, &body).await;
        assert!(is_good && said.contains("webhook-signature: good"), "{said}");
        let count = if name == "helicone" { 4 } else { 2 };
        assert_eq!(said.matches(": good").count(), count, "{said}");
        let (is_good, said) = verify(&gateway.setup, name, &headers, &format!("{body} ")).await;
        assert!(!is_good && !said.contains(": good"), "{said}");
    }

    let (_, said) = verify(&gateway.setup, "bare", &[], "{}").await;
    assert!(said.contains("`bare` has no secret"), "{said}");
    let (_, said) = verify(&gateway.setup, "nobody", &[], "{}").await;
    assert!(said.contains("it has: primary, helicone, bare"), "{said}");
    let (is_good, said) = verify(&gateway.setup, "primary", &[], "{}").await;
    assert!(!is_good && said.contains("not signed"), "{said}");

    // Ten minutes are more than the five that are tolerated unless the file allows more.
    let timestamp = (now().as_secs() - 600).to_string();
    let signed: &[&[u8]] = &[timestamp.as_bytes(), b".", b"{}"];
    let signature = format!("sha256={}", hex::<Hmac<Sha256>>(PLAIN.as_bytes(), signed));
    let headers =
        [("X-Webhook-Signature", signature.as_str()), ("X-Webhook-Timestamp", timestamp.as_str())];
    let (is_good, said) = verify(&gateway.setup, "primary", &headers, "{}").await;
    assert!(!is_good && said.contains("but for that it is right"), "{said}");
    let tolerant = "security: {timestamp_tolerance_ms: 900000}\n";
    gateway.setup.write_file("config.yaml", &config(&upstream, &format!("{sections}{tolerant}")));
    let (is_good, said) = verify(&gateway.setup, "primary", &headers, "{}").await;
    assert!(is_good, "{said}");
}
