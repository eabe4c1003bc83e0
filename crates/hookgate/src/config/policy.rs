//! Seed 002's `retry`, `security` and `delivery`: the defaults of every destination.
//!
//! Invariant: the values in `Policy::default` are those in `config/default.yaml`; a test compares
//! them.

use std::time::Duration;

use domain::{
    destination::{Defaults, RetryPolicy, SignatureAlgorithm},
    network::{Network, NetworkError},
    outbound::Outbound,
    ports::Ports,
};
use store::sqlite::Durability;

use super::{
    DeliverySettings, EgressSettings,
    section::{Field, Section, Unknown},
};

/// Milliseconds in a day: the longest of any wait.
const DAY_MS: u64 = 86_400_000;

/// What every destination does unless its own entry says otherwise, and how long records are kept.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Policy {
    pub(crate) defaults: Defaults,
    pub(crate) retention: Duration,
    pub(crate) durability: Durability,
    pub(crate) settle_timeout: Duration,
    pub(crate) disable_after: Option<Duration>,
    pub(crate) timestamp_tolerance: Duration,
    /// Nothing said is `false` for destinations of a file, `true` for those made through a door.
    pub(crate) require_https: Option<bool>,
    pub(crate) block_private: bool,
    pub(crate) allow_private_destinations: Vec<Network>,
    /// Of destinations made through a door.
    pub(crate) allowed_ports: Ports,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            defaults: Defaults {
                retry: RetryPolicy {
                    max_attempts: 5,
                    initial_delay: Duration::from_secs(1),
                    multiplier: 2.0,
                    max_delay: Duration::from_mins(1),
                    retry_after_max: Duration::from_hours(1),
                    retryable_status_codes: vec![408, 429, 500, 502, 503],
                },
                timeout: Duration::from_secs(30),
                concurrent_deliveries: 10,
                queue_size: 10_000,
                batch_bytes_max: 4 << 20,
                signature_algorithm: SignatureAlgorithm::Sha256,
                signature_header: "X-Webhook-Signature".to_owned(),
            },
            retention: Duration::from_hours(168),
            durability: Durability::Process,
            settle_timeout: Duration::from_secs(10),
            disable_after: Some(Duration::from_hours(120)),
            timestamp_tolerance: Duration::from_mins(5),
            require_https: None,
            block_private: false,
            allow_private_destinations: Vec::new(),
            allowed_ports: Ports::new(vec![80..=80, 443..=443, 1024..=65_535]),
        }
    }
}

impl Policy {
    /// What concerns deliveries to all destinations.
    pub(crate) fn delivery(&self) -> DeliverySettings {
        DeliverySettings {
            settle_timeout: self.settle_timeout,
            timestamp_tolerance: self.timestamp_tolerance,
            disable_after: self.disable_after,
        }
    }

    /// Which addresses deliveries may go to.
    pub(crate) fn egress(&self, outbound: Outbound) -> EgressSettings {
        EgressSettings {
            doors_require_https: self.require_https.unwrap_or(true),
            allow_private_destinations: self.allow_private_destinations.clone(),
            doors_allowed_ports: self.allowed_ports.clone(),
            outbound,
        }
    }

    /// Takes what `retry` says.
    pub(crate) fn read_retry(&mut self, section: Section<'_>) {
        let retry = &mut self.defaults.retry;
        set(&mut retry.max_attempts, section.get("max_attempts").and_then(|f| f.whole(1..=1_000)));
        let multiplier = section.get("backoff_multiplier").and_then(|f| f.number(1.0..=100.0));
        set(&mut retry.multiplier, multiplier);
        let delay = section.get("initial_delay_ms").and_then(|f| f.millis(0..=DAY_MS));
        set(&mut retry.initial_delay, delay);
        let max_delay = section.get("max_delay_ms");
        set(&mut retry.max_delay, max_delay.as_ref().and_then(|f| f.millis(0..=DAY_MS)));
        if let Some(field) = max_delay.filter(|_| retry.max_delay < retry.initial_delay) {
            field.problem(format!(
                "must not be below initial_delay_ms ({})",
                retry.initial_delay.as_millis()
            ));
        }
        let asked = section.get("retry_after_max_ms").and_then(|f| f.millis(0..=7 * DAY_MS));
        set(&mut retry.retry_after_max, asked);
        if let Some(items) = section.get("retryable_status_codes").and_then(|f| f.items()) {
            retry.retryable_status_codes =
                items.iter().filter_map(|item| item.whole(300..=599u16)).collect();
        }
        section.finish(Unknown::Warn, &[]);
    }

    /// Takes what `delivery` says.
    pub(crate) fn read_delivery(&mut self, section: Section<'_>) {
        set(
            &mut self.defaults.timeout,
            section.get("timeout_ms").and_then(|f| f.millis(1..=600_000)),
        );
        let concurrent = section.get("concurrent_deliveries").and_then(|f| f.whole(1..=1_000));
        set(&mut self.defaults.concurrent_deliveries, concurrent.map(|n: u16| n.into()));
        let queue = section.get("queue_size").and_then(|f| f.whole(1..=1_000_000));
        set(&mut self.defaults.queue_size, queue.map(|n: u32| n as usize));
        let bytes = section.get("batch_bytes_max").and_then(|f| f.whole(1_024..=64 << 20));
        set(&mut self.defaults.batch_bytes_max, bytes.map(|n: u32| n as usize));
        let hours = section.get("retention_hours").and_then(|f| f.number(0.01..=87_600.0));
        set(&mut self.retention, hours.map(|hours| Duration::from_secs_f64(hours * 3_600.0)));
        let durability = [("process", Durability::Process), ("power", Durability::Power)];
        set(&mut self.durability, section.get("durability").and_then(|f| f.choice(&durability)));
        let settle = section.get("settle_ms").and_then(|f| f.millis(0..=600_000));
        set(&mut self.settle_timeout, settle);
        if let Some(hours) =
            section.get("disable_after_hours").and_then(|f| f.number(0.0..=8_760.0))
        {
            let after = Duration::from_secs_f64(hours * 3_600.0);
            self.disable_after = Some(after).filter(|after| !after.is_zero());
        }
        section.finish(Unknown::Warn, &[]);
    }

    /// Takes what `security` says.
    pub(crate) fn read_security(&mut self, section: Section<'_>) {
        let algorithms =
            [("sha256", SignatureAlgorithm::Sha256), ("sha512", SignatureAlgorithm::Sha512)];
        let algorithm = section.get("signature_algorithm").and_then(|f| f.choice(&algorithms));
        set(&mut self.defaults.signature_algorithm, algorithm);
        if let Some(field) = section.get("signature_header") {
            match field.text() {
                Some(name) if may_carry_signature(&name) => self.defaults.signature_header = name,
                Some(_) => field.problem(
                    "must be a header name of letters, digits and hyphens that HTTP, Standard \
                     Webhooks (webhook-*) and X-Webhook-Timestamp leave free",
                ),
                None => {}
            }
        }
        let tolerance = section.get("timestamp_tolerance_ms").and_then(|f| f.millis(1..=DAY_MS));
        set(&mut self.timestamp_tolerance, tolerance);
        let require_https = section.get("require_https").and_then(|f| f.flag());
        self.require_https = require_https.or(self.require_https);
        set(&mut self.block_private, section.get("block_private").and_then(|f| f.flag()));
        if let Some(field) = section.get("allow_private_destinations") {
            self.allow_private_destinations =
                field.item_or_items().iter().filter_map(network).collect();
        }
        if let Some(field) = section.get("allowed_ports") {
            let texts: Vec<_> = field.texts();
            match Ports::parse(texts.iter().map(String::as_str)) {
                Ok(ports) => self.allowed_ports = ports,
                Err(error) => field.problem(error.to_string()),
            }
        }
        section.finish(Unknown::Warn, &[]);
    }
}

/// Puts a value in its place, if there is one.
pub(crate) fn set<T>(place: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *place = value;
    }
}

fn network(field: &Field<'_>) -> Option<Network> {
    let text = field.text()?;
    text.trim().parse().map_err(|error: NetworkError| field.problem(error.to_string())).ok()
}

fn may_carry_signature(name: &str) -> bool {
    let taken = [
        "host",
        "content-length",
        "content-type",
        "connection",
        "transfer-encoding",
        "user-agent",
        "x-webhook-timestamp",
    ];
    let lower = name.to_ascii_lowercase();
    !taken.contains(&lower.as_str())
        && !lower.starts_with("webhook-")
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_')
}
