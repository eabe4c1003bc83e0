//! Keys, budgets and limits of deployments.

use domain::budget::{Budget, BudgetDuration, BudgetScope};
use proxy::config::Key;

use super::*;

const MASTER: &str = "general_settings: {master_key: sk-9c1f7e2ab4}\n";
/// The SHA-256 of `sk-app-1234567890`, by `sha256sum`.
const APP_HASH: &str = "5603f3751e554e11f9b97bdf9364235ee5b1f1161609af2f93935cc5d90272f5";

#[test]
fn keys_are_kept_as_their_hashes() {
    let text = format!(
        "{MASTER}keys:
  - {{name: app, key: os.environ/APP_KEY, models: [gpt-4*, small], rpm: 5, tpm: 1000, \
         max_parallel_requests: 2}}
  - {{name: other, key_hash: {other}}}
  - {{name: third, key: 'sha256:{third}'}}
",
        other = "AB".repeat(32),
        third = "cd".repeat(32),
    );
    let settings = Loaded::text(&text, &[("APP_KEY", "sk-app-1234567890")]).settings();
    let plain = |name: &str, hash: &str| Key {
        name: name.to_owned(),
        hash: hash.to_owned(),
        models: Vec::new(),
        rpm: None,
        tpm: None,
        max_parallel_requests: None,
    };
    let app = Key {
        models: vec!["gpt-4*".to_owned(), "small".to_owned()],
        rpm: Some(5),
        tpm: Some(1_000),
        max_parallel_requests: Some(2),
        ..plain("app", APP_HASH)
    };
    let expected = [app, plain("other", &"ab".repeat(32)), plain("third", &"cd".repeat(32))];
    assert_eq!(settings.proxy.keys, expected);
    assert!(!format!("{settings:?}{}", describe(&settings)).contains("sk-app"));
}

#[test]
fn mistakes_in_keys_are_explained_and_no_key_is_repeated() {
    let text = format!(
        "{MASTER}keys:
  - {{name: a, key: sk-canary-00000001}}
  - {{name: a, key: sk-canary-00000002}}
  - {{name: b, key: sk-canary-00000001}}
  - {{name: c, key: sk-9c1f7e2ab4}}
  - {{name: d, key: canary}}
  - {{name: e, key_hash: sk-canary-00000003}}
  - {{name: f, key: sk-canary-00000004, key_hash: sk-canary}}
  - {{name: g, key: os.environ/NONE}}
  - {{key: sk-canary-00000005, alias: h}}
  - {{name: i}}
  - {{name: j, key: sk-canary-00000006, rpm: many, tmp: 5}}
  - sk-canary-00000007
"
    );
    let messages = Loaded::text(&text, &[]).messages();
    insta::assert_snapshot!(messages);
    let open = Loaded::text("keys: [{name: a, key: sk-canary-00000001}]\n", &[]).messages();
    insta::assert_snapshot!(open);
    assert!(!messages.contains("canary") && !open.contains("canary"));
}

#[test]
fn budgets_come_from_the_list_and_from_litellm_s_settings() {
    let text = "\
hookgate: {org_id: org_123}
budgets:
  - {scope: key, match: 'app-*', max_budget: 100, budget_duration: 1mo}
  - {scope: gateway, max_budget: 2.5, budget_duration: 12h, thresholds: [90, 50, 90]}
  - {scope: tag, max_budget: 1, thresholds: []}
litellm_settings: {max_budget: 50, budget_duration: 30d, max_end_user_budget: 0.01}
";
    let settings = Loaded::text(text, &[]).settings();
    assert_eq!(settings.org_id, "org_123");
    let budget = |scope, matches: &str, max_budget, duration, thresholds: &[f64]| Budget {
        scope,
        matches: matches.to_owned(),
        max_budget,
        duration,
        thresholds: thresholds.to_vec(),
    };
    let usual = [50.0, 80.0, 95.0, 100.0];
    let half_day = Some(BudgetDuration::Every(Duration::from_hours(12)));
    let month = Some(BudgetDuration::Month);
    let expected = [
        budget(BudgetScope::Key, "app-*", 100.0, month, &usual),
        budget(BudgetScope::Gateway, "", 2.5, half_day, &[50.0, 90.0]),
        budget(BudgetScope::Tag, "*", 1.0, None, &[]),
        budget(BudgetScope::Gateway, "", 50.0, month, &usual),
        budget(BudgetScope::EndUser, "*", 0.01, None, &usual),
    ];
    assert_eq!(settings.budgets, expected);
    assert_eq!(Loaded::text("model_list: []\n", &[]).settings().org_id, "default");
}

#[test]
fn mistakes_in_budgets_are_explained() {
    let text = "\
budgets:
  - {scope: keys, max_budget: 5}
  - {scope: key, max_budget: -5, budget_duration: 2mo}
  - {max_budget: 5, period: 1d}
  - {scope: gateway, match: '*', max_budget: 5, budget_duration: 30d}
  - {scope: tag, thresholds: [0, fifty]}
litellm_settings: {max_budget: 5, budget_duration: 1mo}
";
    insta::assert_snapshot!(Loaded::text(text, &[]).messages());
    let alone = "litellm_settings: {budget_duration: 1d}\n";
    insta::assert_snapshot!(Loaded::text(alone, &[]).messages());
}

#[test]
fn deployments_have_limits_of_their_own_or_those_of_all() {
    let text = "\
model_list:
  - {model_name: a, litellm_params: {model: openai/a, api_key: k, rpm: 10, tpm: 20}}
  - {model_name: b, litellm_params: {model: openai/b, api_key: k, max_parallel_requests: 3}}
general_settings: {max_parallel_requests: 5, global_max_parallel_requests: 50}
";
    let limits = |text: &str| -> Vec<_> {
        let proxy = Loaded::text(text, &[]).settings().proxy;
        assert_eq!(proxy.global_max_parallel_requests, Some(50));
        let limits = |d: &Deployment| (d.rpm, d.tpm, d.max_parallel_requests);
        proxy.deployments.iter().map(limits).collect()
    };
    assert_eq!(limits(text), [(Some(10), Some(20), Some(5)), (None, None, Some(3))]);
    let router = format!("{text}router_settings: {{default_max_parallel_requests: 4}}\n");
    assert_eq!(limits(&router)[0], (Some(10), Some(20), Some(4)));
}

#[test]
fn deployments_of_a_name_are_weighed_as_litellm_does() {
    let weights = |params: &[&str]| -> Vec<u32> {
        let entry = |params: &&str| {
            format!(
                "- {{model_name: m, litellm_params: {{model: openai/a, api_key: k{params}}}}}\n"
            )
        };
        let list: String = params.iter().map(entry).collect();
        let settings = Loaded::text(&format!("model_list:\n{list}"), &[]).settings();
        settings.proxy.deployments.iter().map(|d| d.weight).collect()
    };
    assert_eq!(weights(&[", rpm: 900", ", rpm: 100"]), [900, 100]);
    assert_eq!(weights(&[", tpm: 9", ", tpm: 1, rpm: 5"]), [9, 1]);
    assert_eq!(weights(&[", rpm: 900", ", tpm: 100"]), [1, 1]);
    assert_eq!(weights(&[", weight: 2, rpm: 5", ", rpm: 7"]), [2, 1]);
    assert_eq!(weights(&[", rpm: 900"]), [1]);
}

#[test]
fn the_key_for_secrets_comes_from_the_environment() {
    let text = "webhooks: {a: {url: 'https://x.example'}}\n";
    let key = |value: &str| Loaded::text(text, &[(ENCRYPTION_KEY_VARIABLE, value)]);
    let settings = key("sixteen-letters!").settings();
    assert_eq!(settings.store.encryption_key.unwrap().expose(), "sixteen-letters!");
    assert_eq!(key("").settings().store.encryption_key, None);
    assert!(key("fifteen-letters").problems[0].starts_with(ENCRYPTION_KEY_VARIABLE));
}

#[test]
fn the_key_of_before_is_another_key_or_the_key_file() {
    let text = "
model_list: [{model_name: m, litellm_params: {model: openai/m, mock_response: hi}}]
webhooks: {a: {url: 'https://x.example'}}
";
    let load = |key: &str, previous: &str| {
        let keys = [(ENCRYPTION_KEY_VARIABLE, key), (PREVIOUS_KEY_VARIABLE, previous)];
        Loaded::text(text, &keys)
    };
    let new = "sixteen-letters!";
    let own = Some(PreviousKey::Text(Secret::new("another-16-chars")));
    for (key, previous, expected) in [
        (new, "", None),
        (new, "another-16-chars", own.clone()),
        ("", " another-16-chars\n", own),
        (new, "secrets.key", Some(PreviousKey::KeyFile)),
    ] {
        let loaded = load(key, previous);
        assert_eq!(loaded.warnings, [""; 0]);
        assert_eq!(loaded.settings().store.previous_key, expected);
    }
    assert!(load(new, "fifteen-letters").problems[0].starts_with(PREVIOUS_KEY_VARIABLE));
    for (key, previous) in [(new, new), ("", "secrets.key")] {
        let loaded = load(key, previous);
        let [warning] = &loaded.warnings[..] else { panic!("one warning: {:?}", loaded.warnings) };
        assert!(warning.contains("so the key does not change"), "{warning}");
    }
}
