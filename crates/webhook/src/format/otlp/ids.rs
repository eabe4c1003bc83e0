//! Ids of generations, traces and spans, as `OpenRouter` makes them: hashes of the generation's id.

use std::fmt::Write as _;

use domain::call::Call;
use sha2::{Digest, Sha256};

/// Hexadecimal digits of a trace's id.
const TRACE_DIGITS: usize = 32;

/// Hexadecimal digits of a span's id.
const SPAN_DIGITS: usize = 16;

/// A call's id in the form of `OpenRouter`'s: `gen-`, the second of its arrival, and 20 characters,
/// here the digits of the call's id that do not follow from its time.
pub(super) fn generation_id(call: &Call) -> String {
    let id = call.id.to_simple();
    format!("gen-{}-{}", call.arrived_at.as_secs().max(0), &id[12..])
}

/// The id of a trace by the name that a caller gave it, else by its generation. One that is an id
/// already stays.
pub(super) fn trace_id(name: &str) -> String {
    id_of(name, TRACE_DIGITS)
}

/// The id of a span that a caller named as the parent. One that is an id already stays; by the id of
/// a generation, the root span of that generation is found.
pub(super) fn parent_id(name: &str) -> String {
    id_of(name, SPAN_DIGITS)
}

/// The id of a span by the response id that it has.
pub(super) fn span_id(response_id: &str) -> String {
    hashed(response_id, SPAN_DIGITS)
}

fn id_of(name: &str, digits: usize) -> String {
    let is_id = name.len() == digits
        && name.bytes().all(|byte| byte.is_ascii_hexdigit())
        // All zeros are no id (W3C Trace Context).
        && name.bytes().any(|byte| byte != b'0');
    if is_id { name.to_owned() } else { hashed(name, digits) }
}

fn hashed(text: &str, digits: usize) -> String {
    let mut hex = String::with_capacity(2 * 32);
    for byte in Sha256::digest(text) {
        write!(hex, "{byte:02x}").expect("a string takes it");
    }
    hex.truncate(digits);
    hex
}

#[cfg(test)]
mod tests {
    use domain::sample;

    use super::*;

    #[test]
    fn ids_are_those_of_captured_deliveries() {
        let first = "gen-1790606272-klALDjkN7Ke6rbM52aHZ";
        assert_eq!(trace_id(first), "7195c25a8068522385c817c8cb73fd1d");
        assert_eq!(span_id(first), "7195c25a80685223");
        let second = "gen-1790606294-sdYHTGXUVyDKWCLqX5Op";
        assert_eq!(trace_id(second), "9b1de41a703bf6c7f0831bba77573c3e");
        assert_eq!(span_id(second), "9b1de41a703bf6c7");
        assert_eq!(span_id(&format!("{second}:attempt-0")), "4340790d902cb4a8");
        assert_eq!(span_id(&format!("{second}:generation")), "8ad22c7251dc7442");
    }

    #[test]
    fn an_id_of_the_right_form_stays_and_any_other_text_is_hashed() {
        let trace = "4BF92F3577b34da6a3ce929d0e0e4736";
        assert_eq!(trace_id(trace), trace);
        assert_eq!(parent_id("00f067aa0ba902b7"), "00f067aa0ba902b7");
        for odd in ["", "abc", "00f067aa0902b71g", "0000000000000000", &trace[1..], "é"] {
            let (trace, parent) = (trace_id(odd), parent_id(odd));
            assert_eq!((trace.len(), parent.len()), (32, 16), "{odd}");
            assert_ne!(parent, odd);
            assert!(trace.starts_with(&parent));
        }
        let generation = "gen-1790606272-klALDjkN7Ke6rbM52aHZ";
        assert_eq!(parent_id(generation), span_id(generation));
    }

    #[test]
    fn a_generation_is_named_by_its_second_and_its_call() {
        let id = generation_id(&sample::call());
        assert_eq!(id, "gen-1700000000-77078707070707070707");
        assert_eq!(id.len(), "gen-1790606272-klALDjkN7Ke6rbM52aHZ".len());
    }
}
