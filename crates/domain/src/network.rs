//! IP networks as operators write them: `10.0.0.0/8`, `fd00::/8`, `192.168.1.7`.

use std::{fmt, net::IpAddr, str::FromStr};

/// The addresses that share a prefix (CIDR, RFC 4632). The bits after the prefix are zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    first: IpAddr,
    prefix_bits: u32,
}

impl Network {
    /// Whether the address is in it. An IPv4 address in its IPv6 form (`::ffff:10.0.0.1`) is in the
    /// networks that hold the address itself.
    pub fn contains(&self, address: IpAddr) -> bool {
        first_of(address.to_canonical(), self.prefix_bits) == Some(self.first)
    }
}

/// The address with all bits after the prefix cleared; `None` if the prefix is longer than it.
fn first_of(address: IpAddr, prefix_bits: u32) -> Option<IpAddr> {
    match address {
        IpAddr::V4(ip) => {
            let rest = 32_u32.checked_sub(prefix_bits)?;
            let mask = u32::MAX.checked_shl(rest).unwrap_or(0);
            Some(IpAddr::V4((ip.to_bits() & mask).into()))
        }
        IpAddr::V6(ip) => {
            let rest = 128_u32.checked_sub(prefix_bits)?;
            let mask = u128::MAX.checked_shl(rest).unwrap_or(0);
            Some(IpAddr::V6((ip.to_bits() & mask).into()))
        }
    }
}

/// Why a text is no network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NetworkError {
    /// It is not of the form `address/length`.
    #[error("is no network; write one as 10.0.0.0/8 or fd00::/8")]
    Shape,
    /// The prefix is longer than the address.
    #[error("has a longer prefix than its address has bits")]
    Length,
    /// Bits after the prefix are set, so it is not clear which of the two is meant.
    #[error("has bits set after its prefix; the network would begin at {0}")]
    Bits(IpAddr),
}

impl FromStr for Network {
    type Err = NetworkError;

    fn from_str(text: &str) -> Result<Self, NetworkError> {
        let (address, length) = match text.split_once('/') {
            Some((address, length)) => (address, Some(length)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| NetworkError::Shape)?;
        let bits = if address.is_ipv4() { 32 } else { 128 };
        let prefix_bits = match length {
            None => bits,
            Some(digits) if !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()) => {
                digits.parse().map_err(|_| NetworkError::Length)?
            }
            Some(_) => return Err(NetworkError::Shape),
        };
        let first = first_of(address, prefix_bits).ok_or(NetworkError::Length)?;
        if first != address {
            return Err(NetworkError::Bits(first));
        }
        // `contains` looks at addresses in their canonical form.
        let is_mapped = matches!(address, IpAddr::V6(ip) if ip.to_ipv4_mapped().is_some());
        if is_mapped { Err(NetworkError::Shape) } else { Ok(Self { first, prefix_bits }) }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.first, self.prefix_bits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_holds_the_addresses_of_its_prefix_and_no_other() {
        for (network, inside, outside) in [
            ("10.0.0.0/8", "10.255.0.1", "11.0.0.0"),
            ("10.0.0.0/8", "::ffff:10.1.2.3", "::10.1.2.3"),
            ("192.168.1.7", "192.168.1.7", "192.168.1.6"),
            ("192.168.1.0/31", "192.168.1.1", "192.168.1.2"),
            ("0.0.0.0/0", "255.255.255.255", "::1"),
            ("fd00::/8", "fdff::1", "fe00::1"),
            ("::1", "::1", "::2"),
            ("::/0", "2001::", "10.0.0.1"),
        ] {
            let parsed: Network = network.parse().unwrap();
            assert!(parsed.contains(inside.parse().unwrap()), "{network} {inside}");
            assert!(!parsed.contains(outside.parse().unwrap()), "{network} {outside}");
        }
    }

    #[test]
    fn what_is_no_network_is_refused_with_the_right_one_where_there_is_one() {
        let error = |text: &str| text.parse::<Network>().unwrap_err();
        for text in
            ["", "10.0.0.0/", "10/8", "a/8", "10.0.0.0/8/8", "10.0.0.0/+8", "::ffff:1.1.1.1"]
        {
            assert_eq!(error(text), NetworkError::Shape, "{text}");
        }
        for text in ["10.0.0.0/33", "::/129", "::/99999999999"] {
            assert_eq!(error(text), NetworkError::Length, "{text}");
        }
        let expected = "has bits set after its prefix; the network would begin at 10.0.0.0";
        assert_eq!(error("10.1.0.0/8").to_string(), expected);
    }

    #[test]
    fn a_network_is_written_with_its_prefix() {
        for (text, written) in [("10.0.0.0/8", "10.0.0.0/8"), ("::1", "::1/128")] {
            assert_eq!(text.parse::<Network>().unwrap().to_string(), written);
        }
    }
}
