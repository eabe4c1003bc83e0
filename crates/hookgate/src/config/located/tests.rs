use super::*;

fn file() -> Arc<SourceFile> {
    Arc::new(SourceFile { order: 0, name: "config.yaml".into() })
}

fn tree(text: &str) -> Node {
    let report = Report::default();
    let node = parse(text, &file(), &report);
    assert_eq!(report.into_findings().0, []);
    node.unwrap()
}

fn problems(text: &str) -> Vec<String> {
    let report = Report::default();
    parse(text, &file(), &report);
    report.into_findings().0.into_iter().map(|problem| problem.to_string()).collect()
}

#[test]
fn every_value_knows_its_line_and_column() {
    let tree = tree("a: 1\nb:\n  - x\n  - c: true\n");
    assert_eq!(tree.get("a").unwrap().at.to_string(), "config.yaml:1:4");
    let Value::List(items) = &tree.get("b").unwrap().value else { panic!("a list") };
    assert_eq!(items[0].at.to_string(), "config.yaml:3:5");
    let Value::Map(entries) = &items[1].value else { panic!("a map") };
    assert_eq!(entries[0].at.to_string(), "config.yaml:4:5");
    assert_eq!(entries[0].node.at.to_string(), "config.yaml:4:8");
}

#[test]
fn numbers_and_booleans_keep_their_spelling() {
    let tree = tree("é: 0123\nb: yes # sure\nc: 1.50\nd: '7'\n");
    let spelt = |key| tree.get(key).unwrap().spelt.clone();
    assert_eq!(spelt("é").as_deref(), Some("0123"));
    assert_eq!(spelt("b").as_deref(), Some("yes"));
    assert_eq!(tree.get("b").unwrap().value, Value::Bool(true));
    assert_eq!(spelt("c").as_deref(), Some("1.50"));
    assert_eq!(spelt("d"), None);
}

#[test]
fn anchors_and_merge_keys_are_filled_in_and_placed_where_they_are_defined() {
    let tree = tree("base: &base\n  retries: 2\n  x: 1\nuse:\n  <<: *base\n  x: 3\n");
    let used = tree.get("use").unwrap();
    assert_eq!(used.get("x").unwrap().value, Value::Integer(3));
    assert_eq!(used.get("retries").unwrap().value, Value::Integer(2));
    assert_eq!(used.get("retries").unwrap().at.line, 2);
}

#[test]
fn a_text_that_breaks_after_a_key_given_twice_is_refused_in_words() {
    assert_eq!(problems("port: 4000\nport: 4000\nbroken line.\n").len(), 1);
}

#[test]
fn keys_given_twice_are_all_reported_with_both_lines() {
    let found = problems("a: 1\nb:\n  c: 1\n  d: 2\n  c: 3\na: 2\n");
    let expected = [
        "config.yaml:5:3: b.c: is given twice, first in line 3; keep one of the two",
        "config.yaml:6:1: a: is given twice, first in line 1; keep one of the two",
    ];
    assert_eq!(found, expected);
    assert_eq!(problems("1: x\n0x1: y\n").len(), 1);
}

#[test]
fn broken_yaml_is_reported_where_it_breaks() {
    for (text, place) in [
        ("a: [1, 2\nb: 3\n", "config.yaml:"),
        ("a:\n\tb: 2\n", "config.yaml:2:"),
        ("a: *nowhere\n", "config.yaml:1:4: "),
        ("a: 1\n---\nb: 2\n", "config.yaml:"),
        ("a: \"open\n", "config.yaml:"),
    ] {
        let found = problems(text);
        assert_eq!(found.len(), 1, "{text:?}: {found:?}");
        assert!(found[0].starts_with(place), "{text:?}: {found:?}");
        assert!(!found[0].contains('\n'), "{found:?}");
    }
}

#[test]
fn a_yaml_bomb_ends_in_a_problem() {
    let level = |level: usize| {
        let aliases = vec![format!("*a{}", level - 1); 9].join(", ");
        format!("a{level}: &a{level} [{aliases}]\n")
    };
    let laughs: Vec<_> = (1..12).map(level).collect();
    assert_eq!(problems(&format!("a0: &a0 [x, x, x]\n{}", laughs.concat())).len(), 1);
    assert_eq!(problems(&format!("a: {}{}", "[".repeat(5_000), "]".repeat(5_000))).len(), 1);
    let deep: Vec<_> = (0..200).map(|depth| format!("{}k:\n", " ".repeat(depth))).collect();
    assert_eq!(problems(&deep.concat()).len(), 1);
}

#[test]
fn json_is_read_too() {
    let tree = tree("{\n\t\"a\": {\n\t\t\"b\": [\"x\\/y\", null, 1e3]\n\t}\n}\n");
    let b = tree.get("a").unwrap().get("b").unwrap();
    assert_eq!(to_json(b), serde_json::json!(["x/y", null, 1000.0]));
}

#[test]
fn an_empty_file_says_nothing() {
    for text in ["", "\n", "# only a comment\n", "\u{feff}"] {
        assert_eq!(tree(text).value, Value::Null, "{text:?}");
    }
}

#[test]
fn files_that_cannot_be_read_are_problems() {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, bytes: &[u8]| {
        let path = dir.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    };
    let found = |path: &Path| {
        let report = Report::default();
        assert_eq!(read(path, 0, &report), None);
        let text = report.into_findings().0[0].to_string();
        text.replace(&format!("{}/", dir.path().display()), "")
    };
    assert!(found(&dir.path().join("none.yaml")).starts_with("none.yaml: could not be read: "));
    let latin = write("latin.yaml", b"a: 1\nb: \xe9\n");
    assert_eq!(found(&latin), "latin.yaml:2:1: is not UTF-8 text; save it as UTF-8");
    let large = write("large.yaml", &vec![b'#'; (FILE_BYTES_MAX + 1) as usize]);
    assert_eq!(found(&large), "large.yaml: is larger than 4 MiB");
}

#[test]
fn json_as_other_tools_write_it_is_read() {
    let text =
        "{\n\t\"a\": {\n\t\t\"b\": \"x \\ud83d\\ude00 \\/ \\u00e9\",\n\t\t\"c\": []\n\t}\n}\n";
    let expected: serde_json::Value = serde_json::from_str(text).unwrap();
    assert_eq!(to_json(&tree(text)), expected);
}
