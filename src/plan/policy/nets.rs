//! Networks with a value each, looked up as a kernel set of networks does it: the longest prefix wins.

use std::collections::BTreeMap;
use std::ops::Bound;

use crate::model::cidr::Cidr;

/// Networks, each with a value.
#[derive(Debug, Clone, Default)]
pub(super) struct Nets<T> {
    values: BTreeMap<Cidr, T>,
    /// Bit n is set if a network of n bits is there.
    prefixes: u64,
}

impl<T: Copy> Nets<T> {
    pub(super) fn new() -> Self {
        Nets { values: BTreeMap::new(), prefixes: 0 }
    }

    pub(super) fn insert(&mut self, net: Cidr, value: T) {
        self.values.insert(net, value);
        self.prefixes |= 1 << net.prefix();
    }

    pub(super) fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (Cidr, T)> {
        self.values.iter().map(|(&net, &value)| (net, value))
    }

    /// The value of the smallest network that holds all of `net`, itself included.
    pub(super) fn covering(&self, net: Cidr) -> Option<T> {
        self.nearest(net, net.prefix())
    }

    /// The value of the smallest network around `net`, without itself.
    pub(super) fn around(&self, net: Cidr) -> Option<T> {
        self.nearest(net, net.prefix().checked_sub(1)?)
    }

    fn nearest(&self, net: Cidr, longest: u8) -> Option<T> {
        let prefixes = (0..=longest).rev().filter(|&prefix| self.prefixes & (1 << prefix) != 0);
        prefixes.filter_map(|prefix| self.values.get(&Cidr::containing(net.network(), prefix)?)).next().copied()
    }

    /// The networks inside `net`, without itself.
    pub(super) fn inside(&self, net: Cidr) -> impl Iterator<Item = Cidr> {
        // Networks are in order of first address, then of prefix length: what follows up to the last address is inside.
        let last = Cidr::host(net.broadcast());
        let range = (net < last).then(|| self.values.range((Bound::Excluded(net), Bound::Included(last))));
        range.into_iter().flatten().map(|(&inner, _)| inner)
    }

    /// Takes the network of every address out.
    pub(super) fn take_any(&mut self) -> Option<T> {
        self.prefixes &= !1;
        self.values.remove(&Cidr::ANY)
    }

    /// Writes the network of every address, which a kernel set can't hold, as its two halves.
    pub(super) fn halve_any(&mut self) {
        let Some(value) = self.take_any() else { return };
        for half in [Cidr::ANY.network(), std::net::Ipv4Addr::new(128, 0, 0, 0)] {
            if let Some(half) = Cidr::containing(half, 1) {
                self.values.entry(half).or_insert(value);
                self.prefixes |= 2;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cidr(text: &str) -> Cidr {
        text.parse().unwrap()
    }

    fn nets(list: &[(&str, u8)]) -> Nets<u8> {
        let mut nets = Nets::new();
        list.iter().for_each(|(net, value)| nets.insert(cidr(net), *value));
        nets
    }

    #[test]
    fn the_longest_prefix_wins() {
        let nets = nets(&[("10.0.0.0/8", 1), ("10.1.0.0/16", 2), ("0.0.0.0/0", 0)]);
        assert_eq!(nets.covering(cidr("10.1.2.0/24")), Some(2));
        assert_eq!(nets.covering(cidr("10.1.0.0/16")), Some(2));
        assert_eq!(nets.around(cidr("10.1.0.0/16")), Some(1));
        assert_eq!(nets.covering(cidr("11.0.0.0/8")), Some(0));
        assert_eq!(nets.around(Cidr::ANY), None);
    }

    #[test]
    fn inside_is_what_is_smaller() {
        let nets = nets(&[
            ("10.0.0.0/7", 0),
            ("10.0.0.0/8", 0),
            ("10.0.0.0/9", 0),
            ("10.255.255.255/32", 0),
            ("11.0.0.0/8", 0),
        ]);
        let inside = |net| nets.inside(cidr(net)).map(|net| net.to_string()).collect::<Vec<_>>();
        assert_eq!(inside("10.0.0.0/8"), ["10.0.0.0/9", "10.255.255.255/32"]);
        assert_eq!(inside("10.255.255.255/32"), [""; 0]);
        assert_eq!(inside("0.0.0.0/0").len(), 5);
    }

    #[test]
    fn the_halves_of_everything_do_not_hide_a_half_that_was_there() {
        let mut nets = nets(&[("0.0.0.0/0", 1), ("128.0.0.0/1", 2)]);
        nets.halve_any();
        assert_eq!(nets.iter().collect::<Vec<_>>(), [(cidr("0.0.0.0/1"), 1), (cidr("128.0.0.0/1"), 2)]);
        assert_eq!(nets.covering(Cidr::ANY), None);
    }
}
