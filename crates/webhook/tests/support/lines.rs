//! JSON for people to read, in the order of the wire.

use std::fmt::Write as _;

/// The text with a line for each member of the object and of its members.
pub(crate) fn two_levels(json: &str) -> String {
    let (mut out, mut depth, mut in_string, mut is_escaped) = (String::new(), 0, false, false);
    let mut chars = json.chars().peekable();
    while let Some(c) = chars.next() {
        if in_string {
            in_string = is_escaped || c != '"';
            is_escaped = !is_escaped && c == '\\';
            out.push(c);
            continue;
        }
        let is_end = matches!(c, '}' | ']');
        if is_end && depth <= 2 && !out.ends_with(['{', '[']) {
            write!(out, "\n{}", "  ".repeat(depth - 1)).unwrap();
        }
        out.push(c);
        in_string = c == '"';
        match c {
            '{' | '[' => depth += 1,
            '}' | ']' => depth -= 1,
            ':' if depth <= 2 => out.push(' '),
            _ => {}
        }
        let begins_line = matches!(c, '{' | '[' | ',') && depth <= 2;
        if begins_line && !matches!(chars.peek(), Some('}' | ']')) {
            write!(out, "\n{}", "  ".repeat(depth)).unwrap();
        }
    }
    out
}
