//! IPv4 networks as an operator may write them. The kernel's tools read `010.0.0.8` as 8.0.0.8 and `10.1` as
//! 10.1.0.0; here there is one spelling, and only canonical text leaves.

use std::borrow::Cow;
use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;

use ipnet::Ipv4Net;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::error::Failure;
use crate::model::text;

/// A CIDR of as many characters as there can be.
const LONGEST: &str = "255.255.255.255/32";

/// An IPv4 network: an address without host bits and a prefix length of 0 to 32.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cidr(Ipv4Net);

impl Cidr {
    /// Every IPv4 address.
    pub const ANY: Cidr = Cidr(Ipv4Net::new_assert(Ipv4Addr::UNSPECIFIED, 0));

    /// The network of `prefix` bits that holds `address`, or nothing where `prefix` is over 32.
    pub fn containing(address: Ipv4Addr, prefix: u8) -> Option<Cidr> {
        Ipv4Net::new(address, prefix).ok().map(|net| Cidr(net.trunc()))
    }

    /// The single address as a network.
    pub fn host(address: Ipv4Addr) -> Cidr {
        Cidr(Ipv4Net::from(address))
    }

    /// The first address: the network's own.
    pub fn network(self) -> Ipv4Addr {
        self.0.network()
    }

    /// The last address: the broadcast address of a subnet.
    pub fn broadcast(self) -> Ipv4Addr {
        self.0.broadcast()
    }

    /// The prefix length in bits.
    pub fn prefix(self) -> u8 {
        self.0.prefix_len()
    }

    /// The number of addresses, network and broadcast address included.
    pub fn size(self) -> u64 {
        1 << (32 - self.prefix())
    }

    /// The address at `offset` from the first, if it is inside.
    pub fn address(self, offset: u64) -> Option<Ipv4Addr> {
        (offset < self.size()).then(|| Ipv4Addr::from_bits(self.network().to_bits().wrapping_add(offset as u32)))
    }

    /// Is `address` inside?
    pub fn contains(self, address: Ipv4Addr) -> bool {
        self.0.contains(&address)
    }

    /// Is all of `other` inside?
    pub fn covers(self, other: Cidr) -> bool {
        self.0.contains(&other.0)
    }

    /// Do the two share an address?
    pub fn overlaps(self, other: Cidr) -> bool {
        self.covers(other) || other.covers(self)
    }

    /// Is all of it in a range that nobody routes on the internet: RFC 1918, or RFC 6598's shared range?
    pub fn is_private(self) -> bool {
        let ranges = [([10, 0, 0, 0], 8), ([172, 16, 0, 0], 12), ([192, 168, 0, 0], 16), ([100, 64, 0, 0], 10)];
        ranges.iter().any(|(octets, prefix)| Ipv4Net::new_assert((*octets).into(), *prefix).contains(&self.0))
    }

    /// What it is displayed as, without a formatter or an allocation: a state has thousands.
    fn text(self, buffer: &mut [u8; LONGEST.len()]) -> &str {
        let mut number = itoa::Buffer::new();
        let mut length = 0;
        let mut push = |text: &[u8]| {
            buffer[length..length + text.len()].copy_from_slice(text);
            length += text.len();
        };
        for (octet, end) in self.network().octets().into_iter().zip([".", ".", ".", "/"]) {
            push(number.format(octet).as_bytes());
            push(end.as_bytes());
        }
        push(number.format(self.prefix()).as_bytes());
        // Digits and dots are always UTF-8.
        std::str::from_utf8(&buffer[..length]).unwrap_or_default()
    }
}

impl FromStr for Cidr {
    type Err = Failure;

    fn from_str(text: &str) -> Result<Self, Failure> {
        let refuse = |why: &str| {
            Failure::usage(format!("`{}` is no CIDR: {why}", text.escape_debug()))
                .hint("write an IPv4 network such as 10.0.0.0/16")
        };
        let Some((address, prefix)) = text.split_once('/') else {
            return Err(refuse("the prefix length is missing"));
        };
        if address.contains(':') {
            return Err(refuse("vpcctl is IPv4 only"));
        }
        let address: Ipv4Addr = address.parse().map_err(|_| refuse("the address is not four decimal numbers"))?;
        let prefix = parse_prefix(prefix).ok_or_else(|| refuse("the prefix length is not a number from 0 to 32"))?;
        let net = Ipv4Net::new(address, prefix).map_err(|_| refuse("the prefix length is over 32"))?;
        if net.trunc() != net {
            return Err(refuse("it has host bits set").hint(format!("the network is {}", net.trunc())));
        }
        Ok(Cidr(net))
    }
}

/// A prefix length in its one spelling: std's parser takes `+24` and `024` too.
fn parse_prefix(text: &str) -> Option<u8> {
    let canonical = text.bytes().all(|b| b.is_ascii_digit()) && (text.len() == 1 || !text.starts_with('0'));
    text.parse().ok().filter(|&prefix: &u8| canonical && prefix <= 32)
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<'de> Deserialize<'de> for Cidr {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        text::parsed(deserializer)
    }
}

impl Serialize for Cidr {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.text(&mut [0; LONGEST.len()]))
    }
}

/// An IPv4 address as a regular expression, for JSON Schemas.
pub(crate) fn address_pattern() -> String {
    let octet = "(25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])";
    format!("({octet}\\.){{3}}{octet}")
}

impl JsonSchema for Cidr {
    fn schema_name() -> Cow<'static, str> {
        "cidr".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let pattern = format!("^{}/(3[0-2]|[12]?[0-9])$", address_pattern());
        json_schema!({"type": "string", "pattern": pattern, "examples": ["10.0.0.0/16"]})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_written_as_it_is_displayed() {
        for text in ["10.0.0.0/16", "0.0.0.0/0", "255.255.255.255/32", "198.19.0.2/31"] {
            let cidr: Cidr = text.parse().unwrap();
            assert_eq!(
                (cidr.to_string().as_str(), serde_json::to_string(&cidr).unwrap()),
                (text, format!("\"{text}\""))
            );
        }
    }

    #[test]
    fn one_spelling() {
        assert_eq!("10.0.0.0/16".parse::<Cidr>().unwrap().to_string(), "10.0.0.0/16");
        assert_eq!("0.0.0.0/0".parse::<Cidr>().unwrap(), Cidr::ANY);
        let bad = [
            "",
            "10.0.0.0",
            "10.0.0.0/",
            "10.0.0.0/33",
            "10.0.0.0/-1",
            "10.0.0.0/024",
            "10.0.0.0/+24",
            "10.0/16",
            "010.0.0.0/8",
            "0x0a.0.0.0/8",
            " 10.0.0.0/8",
            "10.0.0.0/8 ",
            "10.0.0.0/255.0.0.0",
            "fd00::/8",
            "::ffff:10.0.0.0/104",
            "10.0.0.0/8\n",
            "１０.0.0.0/8",
            "localhost/8",
            "10.0.0.0/16/16",
        ];
        for text in bad {
            assert!(text.parse::<Cidr>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn host_bits_are_refused_with_the_network_they_belong_to() {
        let failure = "10.0.0.5/16".parse::<Cidr>().unwrap_err();
        assert_eq!(failure.message, "`10.0.0.5/16` is no CIDR: it has host bits set");
        assert_eq!(failure.hint.as_deref(), Some("the network is 10.0.0.0/16"));
    }

    #[test]
    fn addresses_inside() {
        let net: Cidr = "10.0.1.0/30".parse().unwrap();
        assert_eq!(net.address(1), Some(Ipv4Addr::new(10, 0, 1, 1)));
        assert_eq!(net.address(4), None);
        assert_eq!(Cidr::ANY.size(), 1 << 32);
        assert!(net.overlaps("10.0.0.0/8".parse().unwrap()));
        assert!(!net.covers("10.0.0.0/8".parse().unwrap()));
    }
}
