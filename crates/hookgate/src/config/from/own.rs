//! The section `hookgate:`: what is ours alone. A key that it does not know is a problem.

use std::{
    net::{IpAddr, Ipv4Addr},
    path::PathBuf,
    time::Duration,
};

use proxy::config::Limits;

use super::outbound::Egress;
use crate::config::{
    policy::set,
    report::At,
    section::{Field, Section, Unknown},
};

/// The longest of the waits here, in milliseconds.
const WAIT_MS_MAX: u64 = 3_600_000;
/// The most that a bound on bytes may be.
const BYTES_MAX: i64 = 1 << 40;

/// What `hookgate:` says.
#[derive(Debug, Clone)]
pub(crate) struct Own {
    pub(crate) host: IpAddr,
    /// Where the host stands, if the file says it.
    pub(crate) host_at: Option<At>,
    pub(crate) port: u16,
    pub(crate) data_dir: PathBuf,
    pub(crate) org_id: String,
    pub(crate) ballast_bytes: u64,
    pub(crate) drain_timeout: Duration,
    pub(crate) limits: Limits,
    pub(crate) egress: Egress,
}

impl Default for Own {
    fn default() -> Self {
        Self {
            host: IpAddr::V4(Ipv4Addr::LOCALHOST),
            host_at: None,
            port: 4000,
            data_dir: PathBuf::from(crate::config::DATA_DIR),
            org_id: "default".to_owned(),
            ballast_bytes: 64 << 20,
            drain_timeout: Duration::from_secs(30),
            limits: Limits::default(),
            egress: Egress::default(),
        }
    }
}

impl Own {
    /// Takes what the section says.
    pub(crate) fn read(&mut self, section: Section<'_>) {
        if let Some(field) = section.get("host") {
            let host = field.text().map(|text| parse_host(&text));
            match host {
                Some(Ok(host)) => self.host = host,
                Some(Err(what)) => field.problem(what),
                None => {}
            }
            self.host_at = Some(field.node.at.clone());
        }
        set(&mut self.port, section.get("port").and_then(|field| field.whole(0..=65_535)));
        let data_dir = section.get("data_dir").and_then(|field| field.text());
        set(&mut self.data_dir, data_dir.map(PathBuf::from));
        set(&mut self.org_id, section.get("org_id").and_then(|field| field.text()));
        let ballast = section.get("ballast_bytes").and_then(|field| field.whole(0..=BYTES_MAX));
        set(&mut self.ballast_bytes, ballast.map(i64::cast_unsigned));
        let drain = section.get("drain_ms").and_then(|field| field.millis(0..=WAIT_MS_MAX));
        set(&mut self.drain_timeout, drain);
        if let Some(limits) = section.section("limits") {
            read_limits(limits, &mut self.limits);
        }
        if let Some(egress) = section.section("egress") {
            self.egress = Egress::read(egress);
        }
        section.finish(Unknown::Refuse, &[]);
    }
}

fn read_limits(section: Section<'_>, limits: &mut Limits) {
    let bytes = |key, least: i64| {
        let field: Option<Field<'_>> = section.get(key);
        field.and_then(|field| field.whole(least..=BYTES_MAX)).map(|bytes| bytes as usize)
    };
    let number = |key| {
        let field: Option<Field<'_>> = section.get(key);
        field.and_then(|field| field.whole(1..=10_000_000_i64)).map(|number| number as usize)
    };
    let wait = |key| section.get(key).and_then(|field: Field<'_>| field.millis(1..=WAIT_MS_MAX));
    set(&mut limits.request_body_bytes_max, bytes("request_body_bytes_max", 1_024));
    set(&mut limits.request_header_bytes_max, bytes("request_header_bytes_max", 8_192));
    set(&mut limits.header_read_timeout, wait("header_read_ms"));
    set(&mut limits.body_read_timeout, wait("body_read_ms"));
    set(&mut limits.write_timeout, wait("write_ms"));
    set(&mut limits.response_body_bytes_max, bytes("response_body_bytes_max", 1_024));
    set(&mut limits.captured_bytes_max, bytes("captured_bytes_max", 1_024));
    set(&mut limits.in_flight_bytes_max, bytes("in_flight_bytes_max", 1 << 20));
    set(&mut limits.in_flight_calls_max, number("in_flight_calls_max"));
    set(&mut limits.connections_max, number("connections_max"));
    section.finish(Unknown::Refuse, &[]);
}

/// An address to listen on, by number or as `localhost`.
pub(crate) fn parse_host(text: &str) -> Result<IpAddr, String> {
    let bare = text.trim_start_matches('[').trim_end_matches(']');
    match bare {
        "localhost" => Ok(IpAddr::V4(Ipv4Addr::LOCALHOST)),
        _ => bare.parse().map_err(|_| {
            format!("`{text}` is no address to listen on; write 127.0.0.1, or 0.0.0.0 for all")
        }),
    }
}
