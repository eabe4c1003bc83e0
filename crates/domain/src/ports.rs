//! TCP ports as operators write them: `443`, `8000-8999`.

use std::{fmt, ops::RangeInclusive};

/// Ranges of ports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ports(Vec<RangeInclusive<u16>>);

/// A text that is neither a port nor a range of them.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no port; write one as 443, or some as 8000-8999")]
pub struct PortsError(String);

impl Ports {
    /// Those of these ranges.
    pub const fn new(ranges: Vec<RangeInclusive<u16>>) -> Self {
        Self(ranges)
    }

    /// Those that texts name.
    pub fn parse<'a>(texts: impl IntoIterator<Item = &'a str>) -> Result<Self, PortsError> {
        let ranges: Result<_, _> = texts
            .into_iter()
            .map(|text| range(text).ok_or_else(|| PortsError(text.to_owned())))
            .collect();
        ranges.map(Self)
    }

    /// Whether a port is one of them.
    pub fn contains(&self, port: u16) -> bool {
        self.0.iter().any(|range| range.contains(&port))
    }
}

fn range(text: &str) -> Option<RangeInclusive<u16>> {
    let port = |text: &str| text.trim().parse().ok().filter(|port| *port > 0);
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last): (u16, u16) = (port(first)?, port(last)?);
    (first <= last).then_some(first..=last)
}

impl fmt::Display for Ports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, range) in self.0.iter().enumerate() {
            let comma = if index > 0 { ", " } else { "" };
            match (range.start(), range.end()) {
                (first, last) if first == last => write!(f, "{comma}{first}")?,
                (first, last) => write!(f, "{comma}{first}-{last}")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_read_as_they_are_written() {
        let ports = Ports::parse(["443", "8000-8999", " 9 - 10 "]).unwrap();
        for (port, is_in) in
            [(443, true), (444, false), (8000, true), (8999, true), (9000, false), (10, true)]
        {
            assert_eq!(ports.contains(port), is_in, "{port}");
        }
        assert_eq!(ports.to_string(), "443, 8000-8999, 9-10");
    }

    #[test]
    fn what_is_no_port_is_named() {
        for text in ["", "0", "-1", "65536", "http", "9-8", "1-2-3", "1-"] {
            let error = Ports::parse(["80", text]).unwrap_err();
            assert_eq!(error, PortsError(text.to_owned()));
        }
    }
}
