//! JSON as JavaScript writes it: the output is JSON, and writing it again changes nothing.
#![no_main]

use libfuzzer_sys::fuzz_target;
use webhook::javascript::stringify;

fuzz_target!(|data: &[u8]| {
    let Ok(written) = stringify(data) else { return };
    // Lone surrogates stay as escapes, which serde_json refuses in text but not in a raw value.
    serde_json::from_slice::<&serde_json::value::RawValue>(&written).expect("it is JSON");
    assert_eq!(stringify(&written).expect("it is JSON"), written, "a second pass changed it");
});
