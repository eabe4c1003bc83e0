//! The stages together, on files: the examples, the defaults, and files with every kind of mistake.

mod destinations;

mod egress;

mod limits;

mod messages;

mod providers;

mod registry;

use std::cell::RefCell;

use super::*;

thread_local! {
    /// The keys that sections were asked for, by path, on this test's thread.
    static KNOWN: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

/// Called by every section when it is done.
pub(super) fn note_known(path: &str, known: &[&'static str]) {
    KNOWN.with_borrow_mut(|all| all.extend(known.iter().map(|key| section::join(path, key))));
}

/// A file in the repository's root.
fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(path)
}

fn environment(pairs: &[(&str, &str)]) -> Environment {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

/// What a configuration came to: its settings, and all messages with the directory cut off.
struct Loaded {
    settings: Option<Settings>,
    problems: Vec<String>,
    warnings: Vec<String>,
}

impl Loaded {
    fn from(sources: &Sources, dir: &Path) -> Self {
        let dir = format!("{}/", dir.display());
        let plain = |text: String| text.replace(&dir, "");
        let (settings, warnings) = load_with_warnings(sources);
        let warnings = warnings.iter().map(|warning| plain(warning.to_string())).collect();
        match settings {
            Ok(settings) => Self { settings: Some(settings), problems: Vec::new(), warnings },
            Err(problems) => {
                assert_ne!(problems, [], "no settings, and nobody says why");
                let problems = problems.iter().map(|problem| plain(problem.to_string())).collect();
                Self { settings: None, problems, warnings }
            }
        }
    }

    /// A file `config.yaml` of this text, with these variables.
    fn text(text: &str, variables: &[(&str, &str)]) -> Self {
        Self::files(&[("config.yaml", text)], variables)
    }

    /// Files beside each other, the first of them the main one.
    fn files(files: &[(&str, &str)], variables: &[(&str, &str)]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in files {
            std::fs::write(dir.path().join(name), text).unwrap();
        }
        let config = Some(dir.path().join(files[0].0));
        let environment = environment(variables);
        Self::from(&Sources { config, environment, ..Sources::default() }, dir.path())
    }

    fn settings(self) -> Settings {
        self.settings.unwrap_or_else(|| panic!("problems: {:#?}", self.problems))
    }

    fn destination(self, name: &str) -> Destination {
        let destinations = self.settings().destinations;
        destinations.into_iter().find(|d| d.name.as_str() == name).unwrap()
    }

    /// Every message, for a snapshot.
    fn messages(&self) -> String {
        let problems = self.problems.iter().map(|problem| format!("error: {problem}\n"));
        let warnings = self.warnings.iter().map(|warning| format!("warning: {warning}\n"));
        problems.chain(warnings).collect::<Vec<_>>().concat()
    }
}

/// Every variable that the examples name.
const SET: [(&str, &str); 7] = [
    ("OPENAI_API_KEY", "sk-openai"),
    ("ANTHROPIC_API_KEY", "sk-anthropic"),
    ("LITELLM_MASTER_KEY", "sk-f3a9d2c47b1e4c8a"),
    ("AUDIT_URL", "https://audit.example.com/in?token=hidden"),
    ("AUDIT_KEY", "audit-key"),
    ("WEBHOOK_SECRET", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"),
    ("BACKUP_WEBHOOK_SECRET", "backup-secret"),
];

const EXAMPLES: [&str; 4] = [
    "examples/config.yaml",
    "examples/litellm/config.yaml",
    "examples/litellm/config_rubrik.yaml",
    "examples/webhooks/webhook_config.yaml",
];

/// What `hookgate check` prints about a file of the repository.
fn check(path: &str, variables: &[(&str, &str)]) -> String {
    let args = crate::cli::check::Args {
        config: Some(repository(path)),
        webhooks: None,
        callbacks: None,
        defaults: false,
    };
    let mut out = Vec::new();
    crate::cli::check::run(args, environment(variables), &mut out).unwrap();
    let root = format!("{}/", repository("").display());
    String::from_utf8(out).unwrap().replace(root.trim_end_matches('/'), "").replace(": /", ": ")
}

#[test]
fn the_examples_load_with_their_variables_set() {
    for path in EXAMPLES {
        insta::assert_snapshot!(format!("set_{path}").replace('/', "-"), check(path, &SET));
    }
}

#[test]
fn the_examples_name_what_they_need_without_their_variables() {
    for path in EXAMPLES {
        insta::assert_snapshot!(format!("unset_{path}").replace('/', "-"), check(path, &[]));
    }
}

#[test]
fn everything_that_a_file_can_ask_for_is_described() {
    let text = "\
model_list:
  - {model_name: a, litellm_params: {model: openai/a, api_key: k, rpm: 10, tpm: 1, weight: 2}}
  - {model_name: a, litellm_params: {model: openai/b, api_key: k, max_parallel_requests: 1}}
general_settings:
  {master_key: sk-9c1f7e2ab4, global_max_parallel_requests: 1, alerting: [webhook]}
keys:
  - {name: app, key: sk-app-1234567890, models: [a*], rpm: 1, tpm: 5, max_parallel_requests: 2}
  - {name: other, key: sk-app-1234567891}
hookgate: {org_id: org_1}
budgets:
  - {scope: gateway, max_budget: 0.5, budget_duration: 12h}
  - {scope: key, match: app, max_budget: 5, budget_duration: 1d, thresholds: [12]}
  - {scope: tag, max_budget: 5, budget_duration: 7d, thresholds: []}
litellm_settings: {max_end_user_budget: 1}
security: {block_private: true, allow_private_destinations: [10.0.0.0/8, '::1']}
delivery: {disable_after_hours: 0}
webhooks:
  traces: {url: 'https://x.example', format: otlp, compression: gzip, batch_size: 9, method: PUT}
  genai: {url: 'https://x.example', format: otlp, profile: genai, integers: number}
  helicone: {url: 'https://x.example', format: helicone, secret: s, compat: document}
  text: {url: 'https://x.example', format: helicone, include_data: false, bodies: string}
  cloud: {url: 'https://x.example', format: cloudevents, event_types: [delivery.exhausted]}
  clouds: {url: 'https://x.example', format: cloudevents, mode: batch, strict_order: true}
  lines: {url: 'https://x.example', format: generic_api, log_format: ndjson, timeout_ms: 1500}
  narrow:
    url: https://x.example
    secret: [whsk_nWGxne/9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A=, whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw]
    filters:
      completion: {keys: app, end_users: [u], tags: [t], properties: {env: prod}, min_tokens: 5}
    rules:
      groups:
        - {logic: or, rules: [{field: model, operator: exists}, {field: input, operator: exists}]}
        - {rules: [{field: model, operator: exists}]}
";
    let variables = [
        ("WEBHOOK_URL", "https://alerts.example/in?token=hidden"),
        (ENCRYPTION_KEY_VARIABLE, "sixteen-letters!"),
        (PREVIOUS_KEY_VARIABLE, "secrets.key"),
    ];
    let loaded = Loaded::text(text, &variables);
    assert_eq!(loaded.warnings, [""; 0]);
    insta::assert_snapshot!(describe(&loaded.settings()));
}

#[test]
fn no_secret_is_shown() {
    for path in EXAMPLES {
        let shown = check(path, &SET);
        let (settings, _) = load(&Sources {
            config: Some(repository(path)),
            environment: environment(&SET),
            ..Sources::default()
        })
        .unwrap();
        for (name, value) in SET {
            assert!(!shown.contains(value), "{path} shows {name}");
            let is_url = name == "AUDIT_URL";
            assert!(is_url || !format!("{settings:?}").contains(value), "{path} debugs {name}");
        }
        assert!(!shown.contains("token=") && !shown.contains("efc57707"), "{shown}");
    }
}

#[test]
fn the_defaults_in_the_file_are_those_in_the_code() {
    let variables = [("OPENAI_API_KEY", "x")];
    let model = "model_list: [{model_name: a, litellm_params: {model: openai/a}}]\n";
    let minimal = Loaded::text(model, &variables);
    KNOWN.take();
    let written = Loaded::text(&format!("{DEFAULTS}\n{model}"), &variables);
    assert_eq!(written.problems, [""; 0]);
    // There is nowhere to send events.
    assert_eq!(written.warnings.len(), 1, "{:#?}", written.warnings);
    let (minimal, written) = (minimal.settings(), written.settings());
    assert_eq!(format!("{written:#?}"), format!("{minimal:#?}"));
    let policy = |text: &str| {
        let report = Report::default();
        let file = std::sync::Arc::new(report::SourceFile { order: 0, name: "x".into() });
        let tree = located::parse(text, &file, &report).unwrap();
        Sections::open(Some(&tree), None, &report).unwrap().read_policy()
    };
    assert_eq!(policy(DEFAULTS), Policy::default());
}

#[test]
fn every_setting_of_ours_is_written_in_the_file_of_defaults() {
    KNOWN.take();
    let _ = Loaded::text(DEFAULTS, &[]);
    let file = std::sync::Arc::new(report::SourceFile { order: 0, name: "x".into() });
    let tree = located::parse(DEFAULTS, &file, &Report::default()).unwrap();
    let ours = ["hookgate", "retry", "security", "delivery", "events"];
    let missing: Vec<_> = KNOWN
        .take()
        .into_iter()
        .filter(|path| path.split_once('.').is_some_and(|(top, _)| ours.contains(&top)))
        .filter(|path| path.split('.').try_fold(&tree, |node, key| node.get(key)).is_none())
        .collect();
    assert_eq!(missing, [""; 0]);
}

#[test]
fn the_page_about_settings_has_each_with_its_default() {
    let page = std::fs::read_to_string(repository("docs/configuration.md")).unwrap();
    let code = |cell: &str| cell.trim().trim_matches('`').to_owned();
    let rows: std::collections::BTreeMap<_, _> = page
        .lines()
        .filter_map(|line| {
            let mut cells = line.strip_prefix("| `")?.split('|');
            let (path, default) = (code(cells.next()?), code(cells.next()?));
            (path.contains('.') && !path.contains(['/', ' '])).then_some((path, default))
        })
        .collect();
    let file = std::sync::Arc::new(report::SourceFile { order: 0, name: "x".into() });
    let tree = located::parse(DEFAULTS, &file, &Report::default()).unwrap();
    let mut settings = std::collections::BTreeMap::new();
    let mut open = vec![(String::new(), &tree)];
    while let Some((path, node)) = open.pop() {
        match &node.value {
            Value::Map(entries) => {
                open.extend(entries.iter().map(|e| (section::join(&path, &e.key), &e.node)));
            }
            Value::List(items) => {
                let items: Vec<_> = items.iter().map(written).collect();
                settings.insert(path, format!("[{}]", items.join(", ")));
            }
            _ => drop(settings.insert(path, written(node))),
        }
    }
    // Lists of entries, which have tables of their own.
    settings.retain(|path, _| path.contains('.'));
    assert_eq!(rows, settings);
}

/// A value as a file has it.
fn written(node: &Node) -> String {
    match &node.value {
        Value::Text(text) => text.content.clone(),
        _ => node.spelt.clone().unwrap_or_default(),
    }
}

#[test]
fn every_setting_of_an_entry_is_written_in_the_file_of_defaults() {
    let entries = "\
webhooks: {a: {url: 'https://x.example', tls: {}}}
keys: [{}]
budgets: [{}]
";
    KNOWN.take();
    let _ = Loaded::text(entries, &[]);
    let missing: Vec<_> = KNOWN
        .take()
        .into_iter()
        .filter(|path| {
            let written = |start: &str, key: &str| DEFAULTS.contains(&format!("{start}{key}:"));
            if let Some(key) = path.strip_prefix("webhooks.a.tls.") {
                !written("#         ", key)
            } else if let Some(key) = path.strip_prefix("webhooks.a.") {
                !written("#       ", key)
            } else if let Some((_, key)) = path.split_once("s[0].") {
                !written("#   - ", key) && !written("#     ", key)
            } else {
                false
            }
        })
        .collect();
    assert_eq!(missing, [""; 0]);
}

#[test]
fn without_a_file_the_error_says_how_to_start() {
    let found = Loaded::from(&Sources::default(), Path::new("/none"));
    insta::assert_snapshot!(found.messages());
    let sources = Sources { config: Some("/none/config.yaml".into()), ..Sources::default() };
    insta::assert_snapshot!(Loaded::from(&sources, Path::new("/none")).messages());
}

#[test]
fn flags_win_over_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("config.yaml");
    std::fs::write(&config, "hookgate: {host: '::1', port: 1, data_dir: a}").unwrap();
    let sources = Sources { config: Some(config), ..Sources::default() };
    let settings = Loaded::from(&sources, dir.path()).settings();
    assert_eq!(settings.proxy.listen.to_string(), "[::1]:1");
    assert_eq!(settings.store.data_dir, Path::new("a"));
    let sources = Sources {
        host: Some("127.0.0.2".into()),
        port: Some(2),
        data_dir: Some("b".into()),
        ..sources
    };
    let settings = Loaded::from(&sources, dir.path()).settings();
    assert_eq!(settings.proxy.listen.to_string(), "127.0.0.2:2");
    assert_eq!(settings.store.data_dir, Path::new("b"));
}

#[test]
fn another_address_than_loopback_needs_a_master_key() {
    let file = "hookgate: {host: 0.0.0.0}\n";
    insta::assert_snapshot!(Loaded::text(file, &[]).problems.join("\n"));
    let with_key = format!("{file}general_settings: {{master_key: sk-9c1f7e2ab4}}\n");
    assert_eq!(Loaded::text(&with_key, &[]).settings().proxy.listen.to_string(), "0.0.0.0:4000");
    let variable = [("LITELLM_MASTER_KEY", "sk-9c1f7e2ab4")];
    assert!(Loaded::text(file, &variable).settings().proxy.master_key.is_some());
    // A key that is named and not set must not open the door.
    let unset = "general_settings: {master_key: os.environ/NONE}\n";
    assert_eq!(Loaded::text(unset, &[]).problems.len(), 1);
}

#[test]
fn the_file_of_webhooks_may_be_named_or_given_or_stand_alone() {
    let webhooks = "webhooks: {a: {url: 'https://x.example/a'}}\nretry: {max_attempts: 9}\n";
    let main = "webhook_config: hooks.yaml\nwebhooks: {b: {url: 'https://x.example/b'}}\n";
    let by_path = Loaded::files(&[("config.yaml", main), ("hooks.yaml", webhooks)], &[]);
    let names = |settings: &Settings| -> Vec<_> {
        settings.destinations.iter().map(|d| (d.name.to_string(), d.retry.max_attempts)).collect()
    };
    let both = vec![("b".to_owned(), 9), ("a".to_owned(), 9)];
    assert_eq!(names(&by_path.settings()), both);

    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("hooks.yaml");
    std::fs::write(&path, webhooks).unwrap();
    let sources = Sources { webhooks: Some(path), ..Sources::default() };
    assert_eq!(names(&Loaded::from(&sources, dir.path()).settings()), both[1..]);

    let twice =
        "webhook_config: hooks.yaml\nretry: {}\nwebhooks: {a: {url: 'https://x.example'}}\n";
    let twice = Loaded::files(&[("config.yaml", twice), ("hooks.yaml", webhooks)], &[]);
    insta::assert_snapshot!(twice.problems.join("\n"));
    let lost = Loaded::text("webhook_config: nowhere.yaml\n", &[]);
    insta::assert_snapshot!(lost.problems.join("\n"));
}

#[test]
fn whatever_is_left_of_a_file_it_loads_or_is_explained() {
    for path in EXAMPLES {
        let text = std::fs::read_to_string(repository(path)).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        let without = (0..lines.len()).map(|gone| {
            let kept = lines.iter().enumerate().filter(|(number, _)| *number != gone);
            kept.map(|(_, line)| *line).collect::<Vec<_>>().join("\n")
        });
        let cut = text.char_indices().step_by(7).map(|(end, _)| text[..end].to_owned());
        // `Loaded` asserts that there are settings or problems.
        without.chain(cut).for_each(|text| drop(Loaded::text(&text, &SET)));
    }
}
