//! What holds for every destination that is made through a door. Built by `hookgate::config`.

use std::{collections::HashMap, net::IpAddr};

use domain::{destination::Defaults, network::Network, ports::Ports};

/// The operator's terms. Every value is final.
#[derive(Debug, Clone, PartialEq)]
pub struct Policy {
    /// What a destination does unless its own settings say otherwise.
    pub defaults: Defaults,
    /// Whether `http://` is refused. By default it is, other than for destinations of the file
    /// (DESIGN, "Configuration").
    pub require_https: bool,
    /// The private networks that these destinations may be in (`security.allow_private_destinations`).
    pub private_networks: Vec<Network>,
    /// The ports that they may have (`security.allowed_ports`).
    pub ports: Ports,
    /// The gateway's named keys, by the SHA-256 of each in hexadecimal: other systems name keys so.
    pub key_names: HashMap<String, String>,
}

impl Policy {
    /// Says why a literal address may not be sent to. The client asks again about what a name
    /// resolves to.
    pub(crate) fn check_address(&self, ip: IpAddr) -> Result<(), String> {
        match webhook::address::check(ip, self.may_be_private(ip)) {
            Ok(()) => Ok(()),
            Err(refusal) if refusal.private => Err(format!(
                "must not be sent to: {refusal}; security.allow_private_destinations can allow it"
            )),
            Err(refusal) => Err(format!("must not be sent to: {refusal}")),
        }
    }

    /// The name of a key that was named by its hash; any other text is a name already.
    pub(crate) fn key_name(&self, text: &str) -> String {
        self.key_names.get(text).map_or(text, String::as_str).to_owned()
    }

    /// Whether an address lies in a private network that was opened.
    pub(crate) fn may_be_private(&self, ip: IpAddr) -> bool {
        self.private_networks.iter().any(|network| network.contains(ip))
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::time::Duration;

    use domain::destination::SignatureAlgorithm;

    use super::*;

    /// Terms as they are without a configuration.
    pub(crate) fn policy() -> Policy {
        let sample = domain::sample::destination();
        Policy {
            defaults: Defaults {
                retry: sample.retry,
                timeout: Duration::from_secs(30),
                concurrent_deliveries: 10,
                queue_size: 10_000,
                batch_bytes_max: 4 << 20,
                signature_algorithm: SignatureAlgorithm::Sha256,
                signature_header: "X-Webhook-Signature".to_owned(),
            },
            require_https: true,
            private_networks: Vec::new(),
            ports: Ports::new(vec![443..=443, 8000..=8999]),
            key_names: HashMap::new(),
        }
    }
}
