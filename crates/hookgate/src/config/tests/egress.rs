//! The ways out: proxies, roots, and ports.

use domain::outbound::Outbound;

use super::*;

fn root() -> String {
    std::fs::read_to_string(repository("crates/delivery/tests/data/root.pem")).unwrap()
}

/// A configuration of this text, a root beside it.
fn load(text: &str, variables: &[(&str, &str)]) -> Loaded {
    let files = [("config.yaml", text), ("root.pem", &root()), ("notes.txt", "no certificate")];
    Loaded::files(&files, variables)
}

fn ways(loaded: Loaded) -> (Outbound, Outbound) {
    let settings = loaded.settings();
    (settings.proxy.outbound, settings.egress.outbound)
}

#[test]
fn nothing_leads_through_a_proxy_unless_the_file_says_so() {
    let variables = [("HTTPS_PROXY", "http://proxy.example:1"), ("ALL_PROXY", "http://p.example")];
    let (providers, destinations) = ways(load("model_list: []\n", &variables));
    assert_eq!((providers, destinations), Default::default());
}

#[test]
fn each_side_has_its_own_proxy_and_roots() {
    let text = "
hookgate:
  egress:
    providers: {proxy: os.environ/HTTPS_PROXY, no_proxy: [vllm.internal, 10.0.0.0/8]}
    destinations: {proxy: 'http://hooks.example:3128', ca_file: root.pem}
";
    let variables = [("HTTPS_PROXY", "http://user:p%40ss@models.example:8080/")];
    let (providers, destinations) = ways(load(text, &variables));
    let proxy = providers.proxy.unwrap();
    assert_eq!(proxy.url.expose(), "http://user:p%40ss@models.example:8080/");
    assert_eq!(proxy.except, ["vllm.internal", "10.0.0.0/8"]);
    assert_eq!(providers.extra_roots.len(), 0);
    assert_eq!(destinations.proxy.unwrap().except, [""; 0]);
    assert_eq!(destinations.extra_roots.len(), 1);
    let unset = load(text, &[]).problems;
    assert!(unset[0].contains("HTTPS_PROXY"), "{unset:#?}");
}

#[test]
fn ways_out_that_cannot_be_are_explained_without_their_passwords() {
    for (side, expected) in [
        ("proxy: 'https://user:canary@a.example'", "proxy: must begin with http://"),
        ("proxy: 'socks5://user:canary@a.example'", "proxy: must begin with http://"),
        ("proxy: 'canary'", "proxy: must be a URL such as"),
        ("proxy: 'http://'", "proxy: must be a URL such as"),
        ("ca_file: none.pem", "none.pem could not be read"),
        ("ca_file: notes.txt", "ca_file: holds no certificate"),
        ("proxi: a", "did you mean `proxy`?"),
    ] {
        for name in ["providers", "destinations"] {
            let loaded = load(&format!("hookgate: {{egress: {{{name}: {{{side}}}}}}}\n"), &[]);
            let problems = loaded.problems;
            assert!(problems.len() == 1 && problems[0].contains(expected), "{side}: {problems:#?}");
            assert!(!problems[0].contains("canary"), "{problems:#?}");
        }
    }
}

#[test]
fn litellms_ssl_verify_names_a_root_and_switches_nothing_off() {
    let load = |value: &str| load(&format!("litellm_settings: {{ssl_verify: {value}}}\n"), &[]);
    let roots = |value: &str| load(value).settings().proxy.outbound.extra_roots.len();
    assert_eq!((roots("root.pem"), roots("true"), roots("false"), roots("False")), (1, 0, 0, 0));
    let warns = |value: &str| load(value).warnings.iter().any(|w| w.contains("always verified"));
    assert_eq!((warns("root.pem"), warns("true"), warns("false")), (false, false, true));
    let problems = load("none.pem").problems;
    assert!(problems[0].contains("none.pem could not be read"), "{problems:#?}");
}

#[test]
fn ports_are_for_destinations_made_through_a_door() {
    let ports = |text: &str| {
        load(&format!("security: {{allowed_ports: {text}}}\n"), &[])
            .settings()
            .egress
            .doors_allowed_ports
            .to_string()
    };
    assert_eq!(ports("[443, 8000-8999]"), "443, 8000-8999");
    assert_eq!(ports("8443"), "8443");
    for text in ["[http]", "[70000]", "[9-8]"] {
        let problems = load(&format!("security: {{allowed_ports: {text}}}\n"), &[]).problems;
        let expected = "security.allowed_ports: `";
        assert!(problems.len() == 1 && problems[0].contains(expected), "{text}: {problems:#?}");
    }
    // The file's own destinations are the operator's business.
    let own = "webhooks: {a: {url: 'https://x.example:22/'}}\n";
    assert_eq!(load(own, &[]).problems, [""; 0]);
}

#[test]
fn what_leads_out_is_described_without_its_password() {
    let text = "
hookgate:
  egress:
    providers: {proxy: 'http://user:canary@models.example:8080', no_proxy: [a.example]}
    destinations: {proxy: 'http://hooks.example', ca_file: root.pem}
security: {allowed_ports: [443]}
";
    let described = describe::describe(&load(text, &[]).settings());
    for line in [
        "  Reached through the proxy http://models.example:8080; without it: a.example.\n",
        "  Reached through the proxy http://hooks.example:80, which gets addresses that were \
         resolved and vetted here.\n",
        "  1 root certificate of your own trusted beside the bundled ones.\n",
        "  Those made through an API may have the ports 443.\n",
    ] {
        assert!(described.contains(line), "{line}{described}");
    }
    assert!(!described.contains("canary"), "{described}");
}
