//! Which IP addresses count as the public internet.
//!
//! A pure table, judged fail-closed: an IPv6 address outside global unicast space is not public, and an address
//! that carries an IPv4 one inside (mapped, NAT64, 6to4) is judged by the one inside. When the table is asked, and
//! what happens to a refused address, is decided in `policy` and `resolve`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Whether `ip` may be contacted without the user's leave to use private addresses.
///
/// ```
/// use thv_http::address::is_public;
/// assert!(is_public([93, 184, 215, 14].into()));
/// assert!(!is_public([192, 168, 0, 1].into()));
/// ```
pub fn is_public(ip: IpAddr) -> bool {
    special_range(ip).is_none()
}

/// The name of the special-purpose range that keeps `ip` from being public, `None` for a public address.
///
/// Ranges are those of the IANA special-purpose registries (RFC 6890 and its successors).
pub fn special_range(ip: IpAddr) -> Option<&'static str> {
    match ip {
        IpAddr::V4(v4) => special_v4(v4),
        IpAddr::V6(v6) => special_v6(v6),
    }
}

/// Reads an address as text. IPv6 zone ids (`fe80::1%lo`) and anything else that is not exactly one address are refused.
pub fn parse(text: &str) -> Option<IpAddr> {
    let bare = match text.strip_prefix('[') {
        Some(rest) => rest.strip_suffix(']')?,
        None => text,
    };
    bare.parse().ok()
}

/// Network, prefix length, name. The first match names the range.
const SPECIAL_V4: &[(Ipv4Addr, u32, &str)] = &[
    (Ipv4Addr::UNSPECIFIED, 8, "this network"),
    (Ipv4Addr::new(127, 0, 0, 0), 8, "loopback"),
    (Ipv4Addr::new(10, 0, 0, 0), 8, "private network"),
    (Ipv4Addr::new(172, 16, 0, 0), 12, "private network"),
    (Ipv4Addr::new(192, 168, 0, 0), 16, "private network"),
    (Ipv4Addr::new(169, 254, 0, 0), 16, "link-local"),
    (Ipv4Addr::new(100, 64, 0, 0), 10, "carrier-grade NAT"),
    (Ipv4Addr::new(192, 0, 0, 0), 24, "protocol assignment"),
    (Ipv4Addr::new(192, 0, 2, 0), 24, "documentation"),
    (Ipv4Addr::new(198, 51, 100, 0), 24, "documentation"),
    (Ipv4Addr::new(203, 0, 113, 0), 24, "documentation"),
    (Ipv4Addr::new(224, 0, 0, 0), 4, "multicast"),
    (Ipv4Addr::new(240, 0, 0, 0), 4, "reserved"),
];

/// As [`SPECIAL_V4`]; asked after the forms with an IPv4 address inside were decoded.
const SPECIAL_V6: &[(Ipv6Addr, u32, &str)] = &[
    (Ipv6Addr::UNSPECIFIED, 128, "unspecified"),
    (Ipv6Addr::LOCALHOST, 128, "loopback"),
    (Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0), 10, "link-local"),
    (
        Ipv6Addr::new(0xfc00, 0, 0, 0, 0, 0, 0, 0),
        7,
        "unique local",
    ),
    (Ipv6Addr::new(0xff00, 0, 0, 0, 0, 0, 0, 0), 8, "multicast"),
    // The IPv4 address in a Teredo address belongs to a relay's client behind a NAT: never a server.
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 32, "Teredo"),
    (
        Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0),
        32,
        "documentation",
    ),
    (
        Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 0),
        20,
        "documentation",
    ),
    (
        Ipv6Addr::new(0x64, 0xff9b, 1, 0, 0, 0, 0, 0),
        48,
        "local-use NAT64",
    ),
];

/// Prefixes of 96 bits whose last 32 are an IPv4 address: mapped addresses, NAT64 (RFC 6052) and the first /96 of
/// local-use NAT64 (RFC 8215), the one that translators use by default.
const EMBEDS_V4: &[Ipv6Addr] = &[
    Ipv6Addr::new(0, 0, 0, 0, 0, 0xffff, 0, 0),
    Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, 0, 0),
    Ipv6Addr::new(0x64, 0xff9b, 1, 0, 0, 0, 0, 0),
];

/// `2000::/3`, all that IANA has given out as global unicast (RFC 4291 section 2.4).
const GLOBAL_UNICAST: Ipv6Addr = Ipv6Addr::new(0x2000, 0, 0, 0, 0, 0, 0, 0);

/// `2002::/16`, where bits 16 to 47 are the IPv4 address of the site's router (RFC 3056).
const SIX_TO_FOUR: Ipv6Addr = Ipv6Addr::new(0x2002, 0, 0, 0, 0, 0, 0, 0);

fn special_v4(ip: Ipv4Addr) -> Option<&'static str> {
    SPECIAL_V4
        .iter()
        .find(|(network, prefix, _)| same_prefix_v4(ip, *network, *prefix))
        .map(|(_, _, name)| *name)
}

fn special_v6(ip: Ipv6Addr) -> Option<&'static str> {
    if let Some(inner) = embedded_v4(ip) {
        return special_v4(inner);
    }
    SPECIAL_V6
        .iter()
        .find(|(network, prefix, _)| same_prefix_v6(ip, *network, *prefix))
        .map(|(_, _, name)| *name)
        .or_else(|| (!same_prefix_v6(ip, GLOBAL_UNICAST, 3)).then_some("not global unicast"))
}

fn embedded_v4(ip: Ipv6Addr) -> Option<Ipv4Addr> {
    if same_prefix_v6(ip, SIX_TO_FOUR, 16) {
        let [_, _, a, b, c, d, ..] = ip.octets();
        return Some(Ipv4Addr::new(a, b, c, d));
    }
    let [.., a, b, c, d] = ip.octets();
    EMBEDS_V4
        .iter()
        .any(|network| same_prefix_v6(ip, *network, 96))
        .then(|| Ipv4Addr::new(a, b, c, d))
}

fn same_prefix_v4(ip: Ipv4Addr, network: Ipv4Addr, prefix: u32) -> bool {
    (ip.to_bits() ^ network.to_bits()).leading_zeros() >= prefix
}

fn same_prefix_v6(ip: Ipv6Addr, network: Ipv6Addr, prefix: u32) -> bool {
    (ip.to_bits() ^ network.to_bits()).leading_zeros() >= prefix
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().expect(text)
    }

    #[test]
    fn f51_address_table() {
        let refused = [
            // First and last address of each range.
            ("0.0.0.0", "this network"),
            ("0.255.255.255", "this network"),
            ("127.0.0.1", "loopback"),
            ("127.255.255.255", "loopback"),
            ("10.0.0.0", "private network"),
            ("10.255.255.255", "private network"),
            ("172.16.0.0", "private network"),
            ("172.31.255.255", "private network"),
            ("192.168.0.0", "private network"),
            ("192.168.255.255", "private network"),
            ("169.254.0.0", "link-local"),
            ("169.254.169.254", "link-local"),
            ("169.254.255.255", "link-local"),
            ("100.64.0.0", "carrier-grade NAT"),
            ("100.127.255.255", "carrier-grade NAT"),
            ("192.0.0.192", "protocol assignment"),
            ("192.0.2.0", "documentation"),
            ("192.0.2.255", "documentation"),
            ("198.51.100.0", "documentation"),
            ("198.51.100.255", "documentation"),
            ("203.0.113.0", "documentation"),
            ("203.0.113.255", "documentation"),
            ("224.0.0.0", "multicast"),
            ("239.255.255.255", "multicast"),
            ("240.0.0.0", "reserved"),
            ("255.255.255.255", "reserved"),
            ("::", "unspecified"),
            ("::1", "loopback"),
            ("fe80::", "link-local"),
            ("febf:ffff::1", "link-local"),
            ("fc00::", "unique local"),
            ("fdff:ffff::1", "unique local"),
            ("ff00::", "multicast"),
            ("ff02::1", "multicast"),
            ("2001::", "Teredo"),
            // A Teredo address that hides the public server 8.8.8.8 stays refused.
            ("2001:0:808:808::f7f7:f7f7", "Teredo"),
            ("2001:db8::1", "documentation"),
            ("3fff:fff::1", "documentation"),
            // Mapped.
            ("::ffff:127.0.0.1", "loopback"),
            ("::ffff:10.1.2.3", "private network"),
            // NAT64, both prefixes, and the rest of the local-use one whatever it holds.
            ("64:ff9b::7f00:1", "loopback"),
            ("64:ff9b::a9fe:a9fe", "link-local"),
            ("64:ff9b:1::10.0.0.1", "private network"),
            ("64:ff9b:1:1::8.8.8.8", "local-use NAT64"),
            ("64:ff9b:1:ffff:ffff:ffff:ffff:ffff", "local-use NAT64"),
            // 6to4.
            ("2002:7f00:1::", "loopback"),
            ("2002:c0a8:101::1", "private network"),
            // Forms nobody should meet on the internet.
            ("::127.0.0.1", "not global unicast"),
            ("::8.8.8.8", "not global unicast"),
            ("::ffff:0:8.8.8.8", "not global unicast"),
            ("100::1", "not global unicast"),
            ("fec0::1", "not global unicast"),
            ("4000::1", "not global unicast"),
        ];
        for (text, range) in refused {
            assert_eq!(special_range(ip(text)), Some(range), "{text}");
        }
        let public = [
            "1.0.0.0",
            "8.8.8.8",
            "9.255.255.255",
            "11.0.0.0",
            "100.63.255.255",
            "100.128.0.0",
            "126.255.255.255",
            "128.0.0.0",
            "169.253.255.255",
            "169.255.0.0",
            "172.15.255.255",
            "172.32.0.0",
            "192.0.1.0",
            "192.0.3.0",
            "192.167.255.255",
            "192.169.0.0",
            "198.51.99.255",
            "198.51.101.0",
            "203.0.112.255",
            "203.0.114.0",
            "223.255.255.255",
            "2606:4700::1111",
            "2001:4860:4860::8888",
            "2001:1::1",
            "::ffff:8.8.8.8",
            "64:ff9b::808:808",
            "64:ff9b:1::8.8.8.8",
            "2002:808:808::1",
        ];
        for text in public {
            assert_eq!(special_range(ip(text)), None, "{text}");
        }
    }

    #[test]
    fn zone_ids_and_other_odd_forms_do_not_parse() {
        for text in [
            "fe80::1%lo",
            "fe80::1%25lo",
            "[fe80::1%25lo]",
            "[::1",
            "127.1",
            "0x7f.1",
            "2130706433",
            "",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
        assert_eq!(parse("[::1]"), Some(ip("::1")));
        assert_eq!(parse("127.0.0.1"), Some(ip("127.0.0.1")));
    }

    proptest! {
        #[test]
        fn an_embedded_address_is_as_public_as_the_bare_one(bits: u32) {
            let v4 = Ipv4Addr::from_bits(bits);
            let tail = u128::from(bits);
            let bare = is_public(v4.into());
            for network in EMBEDS_V4 {
                prop_assert_eq!(is_public(Ipv6Addr::from_bits(network.to_bits() | tail).into()), bare);
            }
            let six_to_four = Ipv6Addr::from_bits(SIX_TO_FOUR.to_bits() | (tail << 80));
            prop_assert_eq!(is_public(six_to_four.into()), bare);
        }

        #[test]
        fn nothing_the_standard_library_calls_local_is_public(bits: u128) {
            let v6 = Ipv6Addr::from_bits(bits);
            if v6.is_loopback() || v6.is_unspecified() || v6.is_multicast() || v6.is_unique_local() || v6.is_unicast_link_local() {
                prop_assert!(!is_public(v6.into()));
            }
        }
    }
}
