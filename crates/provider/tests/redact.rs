//! What is left of requests, answers and streams without their texts: add a folder, not code.
//!
//! A folder of `golden/redact` holds `request.json`, `response.json` or `stream.sse`, in which the
//! word `SECRET` stands where a text does. The snapshot beside it holds what is left. The folder's
//! name begins with the API's, `chat` where nothing is said.

use std::path::Path;

use domain::call::Endpoint;
use provider::redact;

#[test]
fn every_case_keeps_what_its_snapshot_says_and_no_text() {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/redact");
    let mut folders: Vec<_> =
        std::fs::read_dir(golden).unwrap().map(|entry| entry.unwrap().path()).collect();
    folders.sort();
    assert!(folders.len() >= 5, "the cases are gone");
    for folder in folders {
        let name = folder.file_name().unwrap().to_str().unwrap();
        let endpoint = match name.split('_').next() {
            Some("responses") => Endpoint::Responses,
            Some("messages") => Endpoint::Messages,
            Some("embeddings") => Endpoint::Embeddings,
            Some("text") => Endpoint::TextCompletions,
            _ => Endpoint::ChatCompletions,
        };
        let read = |name: &str| std::fs::read(folder.join(name)).ok();
        let left = if let Some(body) = read("request.json") {
            redact::request(endpoint, &body)
        } else if let Some(body) = read("response.json") {
            redact::response(endpoint, &body)
        } else {
            redact::stream(endpoint, &read("stream.sse").unwrap())
        };
        let left = String::from_utf8(left.to_vec()).unwrap();
        assert!(!left.is_empty() && !left.contains("SECRET"), "{}", folder.display());
        insta::with_settings!({
            snapshot_path => &folder,
            prepend_module_to_snapshot => false,
            omit_expression => true,
            description => name,
        }, { insta::assert_snapshot!("redacted", left) });
    }
}
