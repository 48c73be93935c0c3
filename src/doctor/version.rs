//! Versions as tools print them.

use std::fmt;

/// The first two numbers of a version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version(pub u32, pub u32);

impl Version {
    /// The version in what a tool prints: its first word of numbers with a point between. iproute2's snapshots of old
    /// (`iproute2-ss200127`) have none.
    pub fn find(text: &str) -> Option<Version> {
        let words = text.split(|c: char| !c.is_ascii_digit() && c != '.');
        words.filter_map(|word| word.split_once('.')).find_map(|(major, rest)| {
            let minor = rest.split('.').next()?;
            Some(Version(major.parse().ok()?, minor.parse().ok()?))
        })
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.0, self.1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_tools_print() {
        let cases = [
            ("ip utility, iproute2-6.1.0, libbpf 1.1.2", Some(Version(6, 1))),
            ("ip utility, iproute2-ss200127", None),
            ("bridge utility, 6.1.0", Some(Version(6, 1))),
            ("ipset v7.17, protocol version: 7", Some(Version(7, 17))),
            ("iptables-save v1.8.9 (nf_tables)", Some(Version(1, 8))),
            ("nftables v1.0.6 (Lester Gooch #5)", Some(Version(1, 0))),
            ("6.18.44-fc-v445", Some(Version(6, 18))),
            ("", None),
        ];
        for (text, version) in cases {
            assert_eq!(Version::find(text), version, "{text}");
        }
        assert!(Version(5, 4) < Version(5, 18));
    }
}
