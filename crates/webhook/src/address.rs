//! Addresses that a destination may have: the rule, as a table.
//!
//! Judges one address. `delivery::send` resolves names, asks here about every address of an answer
//! and dials exactly what passed, so a name that changes its mind in between gains nothing.
//!
//! Two sets are refused. The *private* one opens with `allow_private`, as the operator's own file
//! has it: receivers live in private networks. The *never* set opens for nobody: there, no receiver
//! lives, but a cloud's metadata service may. Sources: the IANA special-purpose registries for IPv4
//! and IPv6 of 2026, and the clouds' documents for their metadata services.
//!
//! Invariant: an IPv6 form that carries an IPv4 address is never treated better than that address.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Why an address must not be dialled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("address {address} is {kind}")]
pub struct Refusal {
    /// The address, as it was resolved.
    pub address: IpAddr,
    /// What it is, in words that fit after "is": `private`, `link-local`, …
    pub kind: &'static str,
    /// Whether `allow_private` would have let it through.
    pub private: bool,
}

/// Passes an address that a destination may have. `allow_private` opens the private ranges
/// (RFC 1918, loopback, unique local, shared, benchmarking) and never any other.
pub fn check(ip: IpAddr, allow_private: bool) -> Result<(), Refusal> {
    let class = match ip {
        IpAddr::V4(ip) => class_of_v4(ip),
        IpAddr::V6(ip) => class_of_v6(ip),
    };
    let refusal = |kind, private| Err(Refusal { address: ip, kind, private });
    match class {
        Class::Public => Ok(()),
        Class::Private(_) if allow_private => Ok(()),
        Class::Private(kind) => refusal(kind, true),
        Class::Never(kind) => refusal(kind, false),
    }
}

/// What an address is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Class {
    /// Anyone's.
    Public,
    /// For destinations that may be private.
    Private(&'static str),
    /// For none.
    Never(&'static str),
}

/// An address range: its first address, the prefix's length, and what lies in it.
type Range<A> = (A, u32, Class);

const METADATA: Class = Class::Never("a cloud's metadata service");
const DOCUMENTATION: Class = Class::Never("for documentation only");
const AS112: Class = Class::Never("a sink for stray DNS queries");
const RESERVED: Class = Class::Never("reserved");

/// The first range that holds the address decides.
const RANGES_V4: &[Range<Ipv4Addr>] = &[
    // Alibaba Cloud puts its metadata service into the shared range, Azure into a public one.
    (Ipv4Addr::new(100, 100, 100, 200), 32, METADATA),
    (Ipv4Addr::new(168, 63, 129, 16), 32, METADATA),
    (Ipv4Addr::UNSPECIFIED, 8, Class::Never("unspecified (this network)")),
    (Ipv4Addr::new(10, 0, 0, 0), 8, Class::Private("private")),
    (Ipv4Addr::new(100, 64, 0, 0), 10, Class::Private("shared between a carrier's customers")),
    (Ipv4Addr::new(127, 0, 0, 0), 8, Class::Private("loopback")),
    (Ipv4Addr::new(169, 254, 0, 0), 16, Class::Never("link-local")),
    (Ipv4Addr::new(172, 16, 0, 0), 12, Class::Private("private")),
    (Ipv4Addr::new(192, 0, 0, 0), 24, Class::Never("for IETF protocols only")),
    (Ipv4Addr::new(192, 0, 2, 0), 24, DOCUMENTATION),
    (Ipv4Addr::new(192, 31, 196, 0), 24, AS112),
    (Ipv4Addr::new(192, 52, 193, 0), 24, Class::Never("a multicast tunnel's relay")),
    (Ipv4Addr::new(192, 88, 99, 0), 24, Class::Never("a former 6to4 relay")),
    (Ipv4Addr::new(192, 168, 0, 0), 16, Class::Private("private")),
    (Ipv4Addr::new(192, 175, 48, 0), 24, AS112),
    (Ipv4Addr::new(198, 18, 0, 0), 15, Class::Private("for benchmarks")),
    (Ipv4Addr::new(198, 51, 100, 0), 24, DOCUMENTATION),
    (Ipv4Addr::new(203, 0, 113, 0), 24, DOCUMENTATION),
    (Ipv4Addr::new(224, 0, 0, 0), 4, Class::Never("multicast")),
    (Ipv4Addr::BROADCAST, 32, Class::Never("broadcast")),
    (Ipv4Addr::new(240, 0, 0, 0), 4, RESERVED),
];

/// The first range that holds the address decides. What is not listed and not in `2000::/3` is not
/// assigned to anyone, and refused.
const RANGES_V6: &[Range<Ipv6Addr>] = &[
    (Ipv6Addr::UNSPECIFIED, 128, Class::Never("unspecified")),
    (Ipv6Addr::LOCALHOST, 128, Class::Private("loopback")),
    // AWS and Google Cloud put their metadata services into the unique local range.
    (Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0), 32, METADATA),
    (Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254), 128, METADATA),
    (Ipv6Addr::new(0xfc00, 0, 0, 0, 0, 0, 0, 0), 7, Class::Private("unique local")),
    (Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0), 10, Class::Never("link-local")),
    (Ipv6Addr::new(0xfec0, 0, 0, 0, 0, 0, 0, 0), 10, Class::Never("site-local")),
    (Ipv6Addr::new(0xff00, 0, 0, 0, 0, 0, 0, 0), 8, Class::Never("multicast")),
    (Ipv6Addr::new(0x100, 0, 0, 0, 0, 0, 0, 0), 64, Class::Never("discarded")),
    // IETF protocols: Teredo, ORCHID, benchmarking, AMT, AS112, drones.
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 32, Class::Never("a Teredo tunnel")),
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 23, Class::Never("for IETF protocols only")),
    (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0), 32, DOCUMENTATION),
    (Ipv6Addr::new(0x2002, 0, 0, 0, 0, 0, 0, 0), 16, Class::Never("a 6to4 tunnel")),
    (Ipv6Addr::new(0x2620, 0x4f, 0x8000, 0, 0, 0, 0, 0), 48, AS112),
    (Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 0), 20, DOCUMENTATION),
    (Ipv6Addr::new(0x2000, 0, 0, 0, 0, 0, 0, 0), 3, Class::Public),
];

fn class_of_v4(ip: Ipv4Addr) -> Class {
    let is_in = |first: Ipv4Addr, length| (ip.to_bits() ^ first.to_bits()) >> (32 - length) == 0;
    let range = RANGES_V4.iter().find(|(first, length, _)| is_in(*first, *length));
    range.map_or(Class::Public, |(_, _, class)| *class)
}

fn class_of_v6(ip: Ipv6Addr) -> Class {
    if let Some(embedded) = embedded_v4(ip) {
        return class_of_v4(embedded);
    }
    let is_in = |first: Ipv6Addr, length| (ip.to_bits() ^ first.to_bits()) >> (128 - length) == 0;
    let range = RANGES_V6.iter().find(|(first, length, _)| is_in(*first, *length));
    let class = range.map_or(RESERVED, |(_, _, class)| *class);
    match (class, isatap_v4(ip).map(class_of_v4)) {
        (Class::Public, Some(worse)) | (Class::Private(_), Some(worse @ Class::Never(_))) => worse,
        _ => class,
    }
}

/// The IPv4 address that an IPv6 address is another form of: mapped (RFC 4291), or by NAT64's
/// well-known prefix (RFC 6052). Other carriers (compatible, translated, local NAT64, 6to4, Teredo)
/// are refused by their range.
fn embedded_v4(ip: Ipv6Addr) -> Option<Ipv4Addr> {
    match ip.segments() {
        [0, 0, 0, 0, 0, 0xffff, ..] | [0x64, 0xff9b, 0, 0, 0, 0, ..] => Some(last_32_bits(ip)),
        _ => None,
    }
}

/// The IPv4 address at the end of an ISATAP tunnel (RFC 5214), which any prefix may lead to. The
/// universal bit of the interface's id may be set.
fn isatap_v4(ip: Ipv6Addr) -> Option<Ipv4Addr> {
    match ip.segments() {
        [_, _, _, _, 0 | 0x200, 0x5efe, ..] => Some(last_32_bits(ip)),
        _ => None,
    }
}

fn last_32_bits(ip: Ipv6Addr) -> Ipv4Addr {
    Ipv4Addr::from_bits(ip.to_bits() as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PUBLIC: &[&str] = &[
        "1.1.1.1",
        "8.8.8.8",
        "9.255.255.255",
        "11.0.0.0",
        "100.63.255.255",
        "100.128.0.0",
        "126.255.255.255",
        "128.0.0.1",
        "169.253.255.255",
        "169.255.0.0",
        "172.15.255.255",
        "172.32.0.0",
        "192.0.1.0",
        "192.167.255.255",
        "192.169.0.0",
        "198.17.255.255",
        "198.20.0.0",
        "223.255.255.255",
        "2606:4700:4700::1111",
        "2001:200::1",
        "2a00:1450:4001::200e",
        "2003::1",
        "3ffe::1",
        "3fff:1000::1",
        "::ffff:8.8.8.8",
        "64:ff9b::8.8.8.8",
        "2606:4700::5efe:808:808",
    ];

    const PRIVATE: &[&str] = &[
        "10.0.0.0",
        "10.255.255.255",
        "100.64.0.0",
        "100.127.255.255",
        "127.0.0.1",
        "127.255.255.255",
        "172.16.0.0",
        "172.31.255.255",
        "192.168.0.0",
        "192.168.255.255",
        "198.18.0.0",
        "198.19.255.255",
        "::1",
        "fc00::1",
        "fd12:3456::1",
        "fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
        "::ffff:127.0.0.1",
        "::ffff:10.1.2.3",
        "::ffff:7f00:1",
        "64:ff9b::10.0.0.1",
        "2606:4700::200:5efe:7f00:1",
        "fd12::5efe:808:808",
        "fd12::5efe:7f00:1",
    ];

    const NEVER: &[&str] = &[
        "0.0.0.0",
        "0.255.255.255",
        "100.100.100.200",
        "168.63.129.16",
        "169.254.0.0",
        "169.254.169.254",
        "169.254.170.2",
        "169.254.255.255",
        "192.0.0.0",
        "192.0.0.192",
        "192.0.2.1",
        "192.88.99.1",
        "198.51.100.1",
        "203.0.113.1",
        "224.0.0.1",
        "239.255.255.255",
        "240.0.0.1",
        "255.255.255.254",
        "255.255.255.255",
        "::",
        "::2",
        "::7f00:1",
        "::8.8.8.8",
        "::ffff:0:127.0.0.1",
        "::ffff:169.254.169.254",
        "::ffff:0.0.0.0",
        "64:ff9b::169.254.169.254",
        "64:ff9b:1::1",
        "100::1",
        "100:0:0:1::1",
        "200::1",
        "2001::1",
        "2001:0:4136:e378:8000:63bf:3fff:fdd2",
        "2001:2::1",
        "2001:10::1",
        "2001:20::1",
        "2001:1ff:ffff::1",
        "2001:db8::1",
        "2002:7f00:1::1",
        "2002:808:808::1",
        "2606:4700::5efe:a9fe:a9fe",
        "fd12::5efe:a9fe:a9fe",
        "2002:7f00:1::5efe:808:808",
        "2001:db8::5efe:808:808",
        "fe80::5efe:808:808",
        "3fff::1",
        "3fff:fff::1",
        "4000::1",
        "5f00::1",
        "e000::1",
        "fb00::1",
        "fd00:ec2::254",
        "fd00:ec2::23",
        "fd20:ce::254",
        "fe00::1",
        "fe80::1",
        "febf::1",
        "fec0::1",
        "ff02::1",
    ];

    /// What becomes of a prefix: nobody may be there, those with leave may, or all may.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    enum Fate {
        Never,
        WithLeave,
        /// It carries IPv4 addresses, and each is judged as itself.
        AsInside,
    }
    use Fate::{AsInside, Never, WithLeave};

    /// Every prefix of IANA's IPv4 and IPv6 Special-Purpose Address Registries (RFC 6890) as they
    /// stood on 2026-11-21, those of multicast beside them. A prefix within another one is listed
    /// too, whatever its "globally reachable" says: no receiver of webhooks lives there.
    const IANA: &[(&str, u32, Fate)] = &[
        ("0.0.0.0", 8, Never),
        ("0.0.0.0", 32, Never),
        ("10.0.0.0", 8, WithLeave),
        ("100.64.0.0", 10, WithLeave),
        ("127.0.0.0", 8, WithLeave),
        ("169.254.0.0", 16, Never),
        ("172.16.0.0", 12, WithLeave),
        ("192.0.0.0", 24, Never),
        ("192.0.0.0", 29, Never),
        ("192.0.0.8", 32, Never),
        ("192.0.0.9", 32, Never),
        ("192.0.0.10", 32, Never),
        ("192.0.0.170", 32, Never),
        ("192.0.0.171", 32, Never),
        ("192.0.2.0", 24, Never),
        ("192.31.196.0", 24, Never),
        ("192.52.193.0", 24, Never),
        ("192.88.99.0", 24, Never),
        ("192.88.99.2", 32, Never),
        ("192.168.0.0", 16, WithLeave),
        ("192.175.48.0", 24, Never),
        ("198.18.0.0", 15, WithLeave),
        ("198.51.100.0", 24, Never),
        ("203.0.113.0", 24, Never),
        ("224.0.0.0", 4, Never),
        ("240.0.0.0", 4, Never),
        ("255.255.255.255", 32, Never),
        ("::1", 128, WithLeave),
        ("::", 128, Never),
        ("::ffff:0:0", 96, AsInside),
        ("64:ff9b::", 96, AsInside),
        ("64:ff9b:1::", 48, Never),
        ("100::", 64, Never),
        ("100:0:0:1::", 64, Never),
        ("2001::", 23, Never),
        ("2001::", 32, Never),
        ("2001:1::1", 128, Never),
        ("2001:1::2", 128, Never),
        ("2001:1::3", 128, Never),
        ("2001:2::", 48, Never),
        ("2001:3::", 32, Never),
        ("2001:4:112::", 48, Never),
        ("2001:10::", 28, Never),
        ("2001:20::", 28, Never),
        ("2001:30::", 28, Never),
        ("2001:db8::", 32, Never),
        ("2002::", 16, Never),
        ("2620:4f:8000::", 48, Never),
        ("3fff::", 20, Never),
        ("5f00::", 16, Never),
        ("fc00::", 7, WithLeave),
        ("fe80::", 10, Never),
        ("ff00::", 8, Never),
    ];

    /// Addresses of a prefix: its first, its last, and some between.
    fn addresses_of(first: &str, length: u32) -> Vec<IpAddr> {
        let steps = [0_u128, 1, 2, 3, 5, 7];
        match first.parse().expect("the table holds addresses") {
            IpAddr::V4(ip) => {
                let rest = if length == 32 { 0 } else { u32::MAX >> length };
                let at = |step: u128| ip.to_bits() | (u64::from(rest) * step as u64 / 7) as u32;
                steps.iter().map(|step| IpAddr::V4(at(*step).into())).collect()
            }
            IpAddr::V6(ip) => {
                let rest = if length == 128 { 0 } else { u128::MAX >> length };
                let at = |step: u128| ip.to_bits() | (rest / 7 * step).max(rest * (step / 7));
                steps.iter().map(|step| IpAddr::V6(at(*step).into())).collect()
            }
        }
    }

    #[test]
    fn every_special_purpose_prefix_of_iana_is_refused_or_needs_leave() {
        for (first, length, fate) in IANA {
            for ip in addresses_of(first, *length) {
                let outcome = (check(ip, false).is_ok(), check(ip, true).is_ok());
                let expected = match (fate, embedded(ip)) {
                    (Never, _) => (false, false),
                    // A cloud's metadata service may live in a private range.
                    (WithLeave, _) => {
                        (false, !METADATA_SERVICES.contains(&ip.to_string().as_str()))
                    }
                    (AsInside, inside) => {
                        let inside = inside.expect("it carries an IPv4 address").into();
                        (check(inside, false).is_ok(), check(inside, true).is_ok())
                    }
                };
                assert_eq!(outcome, expected, "{ip} of {first}/{length}");
            }
        }
    }

    const METADATA_SERVICES: &[&str] = &["100.100.100.200", "fd20:ce::254"];

    fn embedded(ip: IpAddr) -> Option<Ipv4Addr> {
        match ip {
            IpAddr::V4(_) => None,
            IpAddr::V6(ip) => embedded_v4(ip),
        }
    }

    #[test]
    fn the_addresses_beside_a_public_prefix_are_still_anyones() {
        // Right before and behind prefixes that lie alone among public ones.
        for ip in [
            "192.31.195.255",
            "192.31.197.0",
            "192.52.192.255",
            "192.52.194.0",
            "192.175.47.255",
            "192.175.49.0",
            "2620:4f:7fff:ffff:ffff:ffff:ffff:ffff",
            "2620:4f:8001::",
            "2001:200::",
            "2001:db7:ffff::1",
            "2001:db9::1",
            "3fff:1000::",
        ] {
            assert_eq!(outcomes(ip), (true, true), "{ip}");
        }
    }

    fn outcomes(text: &str) -> (bool, bool) {
        let ip = text.parse().expect("the table holds addresses");
        (check(ip, false).is_ok(), check(ip, true).is_ok())
    }

    #[test]
    fn public_addresses_pass_private_ones_need_leave_and_the_rest_never_passes() {
        for (table, expected) in
            [(PUBLIC, (true, true)), (PRIVATE, (false, true)), (NEVER, (false, false))]
        {
            for text in table {
                assert_eq!(outcomes(text), expected, "{text}");
            }
        }
    }

    #[test]
    fn a_mapped_address_is_judged_as_the_one_inside() {
        for ip in PUBLIC.iter().chain(PRIVATE).chain(NEVER) {
            let Ok(ip) = ip.parse::<Ipv4Addr>() else { continue };
            let mapped = ip.to_ipv6_mapped();
            for allow_private in [false, true] {
                let inside = check(ip.into(), allow_private).map_err(|refusal| refusal.kind);
                let outside = check(mapped.into(), allow_private).map_err(|refusal| refusal.kind);
                assert_eq!(inside, outside, "{mapped}");
            }
        }
    }

    #[test]
    fn a_refusal_says_what_the_address_is_and_whether_leave_would_help() {
        let refusal = check([10, 0, 0, 7].into(), false).unwrap_err();
        assert_eq!(refusal.to_string(), "address 10.0.0.7 is private");
        assert!(refusal.private);
        let refusal = check([169, 254, 169, 254].into(), true).unwrap_err();
        assert_eq!(refusal.to_string(), "address 169.254.169.254 is link-local");
        assert!(!refusal.private);
    }
}
