//! Registries of pre-configured callbacks.

use super::*;

const NAME: &str = "generic_api_compatible_callbacks.json";

#[test]
fn every_mistake_of_a_registry_is_told_whether_its_names_are_used_or_not() {
    let config = "litellm_settings: {callbacks: [used]}\n";
    let registry = r#"{
    "used": {
        "endpoint": "{{environment_variables.USED_URL}}",
        "headers": {"Authorization": "Bearer {{environment_variables.USED_KEY_2}}"},
        "environment_variables": ["USED_URL", "USED_KEY_2", "USED_REGION"],
        "log_format": "xml"
    },
    "unused": {
        "event_types": ["llm_api_sucess"],
        "endpoint": ["https://x.example"],
        "headers": {"Bad Name": "x", "Content-Length": "5"},
        "environment_variables": "URL",
        "log_formt": "single",
        "docs": {"show_in_docs": "yes", "describtion": "x"}
    },
    "elsewhere": {"endpoint": "htps:/x.example"},
    "from_a_variable": {"endpoint": "${SOME_URL}/logs"},
    "not_a_map": 5,
    "": {}
}
"#;
    let files = [("config.yaml", config), (NAME, registry)];
    let variables = [("USED_REGION", "eu")];
    insta::assert_snapshot!(Loaded::files(&files, &variables).messages());
    let files = [("config.yaml", config), (NAME, "{\n  \"used\": {,}\n}\n")];
    insta::assert_snapshot!(Loaded::files(&files, &[]).messages());
    let files = [("config.yaml", config), (NAME, "[]")];
    insta::assert_snapshot!(Loaded::files(&files, &[]).messages());
}

#[test]
fn every_key_of_a_used_entry_is_known_in_an_unused_one() {
    let config = "litellm_settings: {callbacks: [a]}\n";
    let registry = r#"{"a": {"endpoint": "https://x.example", "docs": {}}}"#;
    KNOWN.take();
    let loaded = Loaded::files(&[("config.yaml", config), (NAME, registry)], &[]);
    assert_eq!(loaded.problems, [""; 0]);
    let mut read: Vec<_> = KNOWN
        .take()
        .iter()
        .filter_map(|path| path.strip_prefix("a."))
        .filter(|key| !key.contains('.'))
        .map(str::to_owned)
        .collect();
    read.sort();
    read.dedup();
    let of_registry =
        ["endpoint", "event_types", "environment_variables", "log_format", "docs"].into_iter();
    let mut known: Vec<_> = of_registry
        .chain(parts::entry::KEYS)
        .chain(from::callbacks::KEYS)
        .map(str::to_owned)
        .collect();
    known.sort();
    assert_eq!(read, known);
}

#[test]
fn the_built_in_registry_is_without_fault_and_has_its_pages() {
    let path = repository("config/generic_api_compatible_callbacks.json");
    let (found, warnings) = integrations(Some(&path));
    let found = found.unwrap();
    assert_eq!(warnings, []);
    assert_eq!(found, integrations(None).0.unwrap());
    let names: Vec<_> = found.iter().map(|it| it.name.as_str()).collect();
    assert_eq!(names, ["qualifire_eval", "ramp", "rubrik", "sumologic"]);
    let documented = |it: &Integration| it.website.is_some() && it.description.ends_with('.');
    assert!(found.iter().all(documented), "{found:#?}");
}

#[test]
fn a_user_s_entry_replaces_the_built_in_page_and_unsafe_names_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("mine.json");
    let entry = |name: &str| format!(r#""{name}": {{"docs": {{"show_in_docs": true}}}}"#);
    std::fs::write(&path, format!("{{{}, {}}}", entry("rubrik"), entry("your_new-service")))
        .unwrap();
    let found = integrations(Some(&path)).0.unwrap();
    let of = |name: &str| found.iter().find(|it| it.name == name).unwrap();
    assert_eq!(of("rubrik").display_name, "Rubrik");
    assert_eq!(of("rubrik").endpoint, None);
    let own = of("your_new-service");
    assert_eq!(own.display_name, "Your New Service");
    assert_eq!(own.description, "Sends the outcomes of calls to Your New Service.");
    for name in ["../up", "index", ".hidden", "a b"] {
        std::fs::write(&path, format!("{{{}}}", entry(name))).unwrap();
        assert_eq!(integrations(Some(&path)).0.unwrap_err().len(), 1, "{name}");
    }
}
