//! Tables for people: columns as wide as what is in them, within a bound.

use std::io::Write;

/// The widest that a column but the last one gets, in characters.
const COLUMN_CHARS_MAX: usize = 48;

/// Writes rows under their heads.
pub(super) fn write<const N: usize>(
    head: [&str; N],
    rows: impl Iterator<Item = [String; N]>,
    out: &mut impl Write,
) -> std::io::Result<()> {
    let mut all = vec![head.map(str::to_owned)];
    all.extend(rows);
    let width = |column: usize| {
        all.iter().map(|row| row[column].chars().count().min(COLUMN_CHARS_MAX)).max()
    };
    let widths: Vec<_> = (0..N - 1).map(|column| width(column).unwrap_or(0)).collect();
    for row in &all {
        for (cell, width) in row.iter().zip(&widths) {
            write!(out, "{cell:width$}  ")?;
        }
        writeln!(out, "{}", row[N - 1])?;
    }
    Ok(())
}

/// A receiver's words, so that they cannot move a terminal's cursor.
pub(super) fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}
