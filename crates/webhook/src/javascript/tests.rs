//! What JavaScript writes. The expected texts are from Node 20; `tests/clients/stringify.mjs`
//! compares many more with the real engine.

use proptest::prelude::*;
use serde_json::Value;

use super::*;

fn written(json: &str) -> Result<String, StringifyError> {
    stringify(json.as_bytes()).map(|bytes| String::from_utf8(bytes).unwrap())
}

#[test]
fn texts_are_written_as_node_writes_them() {
    let cases = [
        (" [ 1 , {} , [ ] , true , false , null ] \n", "[1,{},[],true,false,null]"),
        // Numbers.
        ("[1.0,1e2,1E+2,100e-2,-0,-0.0,0e5]", "[1,100,100,1,0,0,0]"),
        ("[0.000001,1e-6,1e-7,0.00001]", "[0.000001,0.000001,1e-7,0.00001]"),
        (
            "[1e20,1e21,123456789012345680000]",
            "[100000000000000000000,1e+21,123456789012345680000]",
        ),
        ("[9007199254740992,9007199254740993]", "[9007199254740992,9007199254740992]"),
        ("[999999999999999,-999999999999999]", "[999999999999999,-999999999999999]"),
        ("[1e999,-1e999,1e-400,5e-324]", "[null,null,0,5e-324]"),
        (
            "[0.1,0.30000000000000004,1.7976931348623157e308]",
            "[0.1,0.30000000000000004,1.7976931348623157e+308]",
        ),
        // Names.
        (r#"{"b":1,"10":2,"9":3,"a":4}"#, r#"{"9":3,"10":2,"b":1,"a":4}"#),
        (
            r#"{"x":0,"4294967295":1,"4294967294":2,"01":3,"0":4,"-1":5,"1.0":6,"":7}"#,
            r#"{"0":4,"4294967294":2,"x":0,"4294967295":1,"01":3,"-1":5,"1.0":6,"":7}"#,
        ),
        (r#"{"a":1,"b":2,"a":{"2":0,"1":0}}"#, r#"{"a":{"1":0,"2":0},"b":2}"#),
        (r#"{"a":1,"\u0061":2}"#, r#"{"a":2}"#),
        (r#"{"1":1,"\u0031":2,"0":3}"#, r#"{"0":3,"1":2}"#),
        (r#"{"__proto__":1,"a":2,"__proto__":[]}"#, r#"{"__proto__":[],"a":2}"#),
        (r#"{"\ud800":1,"\uD800":2}"#, r#"{"\ud800":2}"#),
        // Texts.
        (r#""\/ \" \\ \b\f\n\r\t""#, r#""/ \" \\ \b\f\n\r\t""#),
        (r#""\u0000\u001F\u0020\u007f\u0022\u005C""#, "\"\\u0000\\u001f \u{7f}\\\"\\\\\""),
        (r#""\u00e9é\u2028\u2029""#, "\"éé\u{2028}\u{2029}\""),
        (r#""\ud83d\uDE00 😀""#, "\"😀 😀\""),
        (r#""\ud83d\ud83d\ude00\ude00\ud83dx""#, "\"\\ud83d😀\\ude00\\ud83dx\""),
        (r#""\udbff\u0041\ud800""#, r#""\udbffA\ud800""#),
        (r#""\ud800\n""#, r#""\ud800\n""#),
    ];
    for (json, expected) in cases {
        assert_eq!(written(json).as_deref(), Ok(expected), "{json}");
    }
}

#[test]
fn what_json_parse_throws_at_is_refused_where_it_stops_fitting() {
    let cases = [
        ("", 0),
        (" ", 1),
        ("\u{feff}1", 0),
        ("1 2", 2),
        ("01", 1),
        ("-", 1),
        ("+1", 0),
        (".5", 0),
        ("1.", 2),
        ("1e", 2),
        ("NaN", 0),
        ("nul", 3),
        ("[1,]", 3),
        ("[1", 2),
        ("{\"a\"}", 4),
        ("{\"a\":1,}", 7),
        ("{a:1}", 1),
        ("'a'", 0),
        ("\"a", 2),
        ("\"\n\"", 1),
        ("\"\\x41\"", 2),
        ("\"\\u12g4\"", 5),
        ("\"\\ud800\\u12\"", 11),
        ("// a\n1", 0),
        ("1\u{a0}", 1),
    ];
    for (json, at) in cases {
        assert_eq!(written(json), Err(StringifyError::Syntax { at }), "{json:?}");
    }
    assert_eq!(stringify(b"\"a\xff\""), Err(StringifyError::Syntax { at: 2 }));
}

#[test]
fn nesting_is_bounded() {
    let nested = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
    assert_eq!(written(&nested(DEPTH_MAX)), Ok(nested(DEPTH_MAX)));
    assert_eq!(written(&nested(DEPTH_MAX + 1)), Err(StringifyError::TooDeep));
    assert_eq!(written(&"{\"a\":".repeat(1_000_000)), Err(StringifyError::TooDeep));
}

#[test]
fn many_members_are_put_in_order_like_few() {
    let members: Vec<_> = (0..5_000).rev().map(|n| format!("\"{n}\":0,\"x{n}\":0")).collect();
    let json = format!("{{{},\"x7\":1,\"7\":1}}", members.join(","));
    let text = written(&json).unwrap();
    assert!(text.starts_with("{\"0\":0,\"1\":0,\"2\":0,"), "{}", &text[..40]);
    assert!(
        text.contains("\"6\":0,\"7\":1,\"8\":0") && text.contains("\"x8\":0,\"x7\":1,\"x6\":0")
    );
    let names = (0..5_000).map(|n| format!("\"x{n}\":0")).collect::<Vec<_>>().join(",");
    assert_eq!(written(&format!("{{{names}}}")), Ok(format!("{{{names}}}")));
    let twice = format!("{{{names},\"x9\":1}}");
    assert_eq!(written(&twice), Ok(format!("{{{names}}}").replace("\"x9\":0", "\"x9\":1")));
}

/// Texts that look like JSON, most of them JSON.
fn any_text() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("null".to_owned()),
        any::<bool>().prop_map(|word| word.to_string()),
        any::<f64>().prop_map(|number| number.to_string()),
        "-?(0|[1-9][0-9]{0,24})(\\.[0-9]{1,9})?([eE][+-]?[0-9]{1,3})?",
        r#""([a-z"é😀]|\\u[dD][8-9a-fA-F][0-9a-f]{2}|\\u00[0-9a-f]{2}|\\[bfnrt"/\\])*""#,
        any::<String>().prop_map(|text| serde_json::to_string(&text).unwrap()),
    ];
    leaf.prop_recursive(4, 60, 8, |inner| {
        let name = prop_oneof![
            "\"[0-9a]{1,2}\"".boxed(),
            "\"(__proto__|toString|4294967295|\\\\u0061)\"".boxed(),
        ];
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6)
                .prop_map(|elements| format!("[{}]", elements.join(" ,"))),
            prop::collection::vec((name, inner), 0..14).prop_map(|members| {
                let members: Vec<_> =
                    members.iter().map(|(name, value)| format!("{name}: {value}")).collect();
                format!("{{{}}}", members.join(",\n"))
            }),
        ]
    })
}

proptest! {
    #[test]
    fn law_what_was_written_is_written_again_as_it_is(text in any_text()) {
        if let Ok(once) = stringify(text.as_bytes()) {
            prop_assert_eq!(stringify(&once), Ok(once));
        }
    }

    /// `serde_json` refuses lone surrogates and numbers beyond an `f64`, and keeps large integers.
    #[test]
    fn law_what_another_parser_reads_keeps_its_meaning(text in any_text()) {
        let Ok(expected) = serde_json::from_str::<Value>(&text) else { return Ok(()) };
        let ours: Value = serde_json::from_slice(&stringify(text.as_bytes()).unwrap()).unwrap();
        prop_assert!(is_same(&expected, &ours), "{} became {}", expected, ours);
    }

    #[test]
    fn law_any_bytes_are_written_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
        if let Ok(text) = stringify(&bytes) {
            prop_assert!(std::str::from_utf8(&text).is_ok());
        }
    }
}

/// Equality with numbers as JavaScript has them.
fn is_same(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Number(one), Value::Number(other)) => {
            let (one, other) = (one.as_f64().unwrap(), other.as_f64().unwrap());
            // `serde_json` rounds long numbers less well.
            (one - other).abs() <= one.abs() * 1e-14
        }
        (Value::Array(one), Value::Array(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(a, b)| is_same(a, b))
        }
        (Value::Object(one), Value::Object(other)) => {
            one.len() == other.len()
                && one.iter().all(|(name, a)| other.get(name).is_some_and(|b| is_same(a, b)))
        }
        _ => one == other,
    }
}
