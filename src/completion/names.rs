//! The names of VPCs, subnets and instances, and which of them continue what has been typed. Pure.

use std::collections::{BTreeMap, BTreeSet};

use crate::completion::place::value_of;
use crate::model::state::State;

/// A subnet's further instances, by subnet.
type Subnets = BTreeMap<String, BTreeSet<String>>;

/// The names there are: VPCs, their subnets, and the further instances of these.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Names(BTreeMap<String, Subnets>);

impl Names {
    /// The names of a state.
    pub fn of_state(state: &State) -> Self {
        let vpcs = state.vpcs.iter().map(|(name, vpc)| {
            let subnets = vpc.subnets.iter().map(|(name, subnet)| {
                (name.to_string(), subnet.instances.keys().map(ToString::to_string).collect::<BTreeSet<_>>())
            });
            (name.to_string(), subnets.collect())
        });
        Names(vpcs.collect())
    }

    /// What namespaces let guess: `v` is a VPC where there is a `v-…`, which is a subnet of it, and `v-s-…` an instance where
    /// there is a `v-s`. A VPC without subnets looks like anybody's namespace and is left out.
    pub fn of_namespaces(names: impl IntoIterator<Item = String>) -> Self {
        let names: BTreeSet<String> = names.into_iter().collect();
        let mut vpcs: BTreeMap<String, Subnets> = BTreeMap::new();
        for name in &names {
            // The shortest namespace that the name continues is the router's, and the next shortest a subnet's.
            let mut parents = name.match_indices('-').map(|(at, _)| &name[..at]).filter(|start| names.contains(*start));
            let Some(vpc) = parents.next() else { continue };
            let subnet = parents.next().unwrap_or(name);
            let instances =
                vpcs.entry(vpc.to_owned()).or_default().entry(subnet[vpc.len() + 1..].to_owned()).or_default();
            if subnet.len() < name.len() {
                instances.insert(name[subnet.len() + 1..].to_owned());
            }
        }
        Names(vpcs)
    }

    /// The VPCs that begin with `start`.
    pub fn vpcs(&self, start: &str) -> Vec<String> {
        beginning(self.0.keys(), start)
    }

    /// The subnets that begin with `start`: of the VPC that the words `before` name, or of all.
    pub fn subnets(&self, before: &[String], start: &str) -> Vec<String> {
        let subnets: BTreeSet<&String> = self.vpcs_named(before).iter().flat_map(|vpc| vpc.keys()).collect();
        beginning(subnets, start)
    }

    /// The further instances that begin with `start`: of the VPC and the subnet that the words `before` name, or of all.
    pub fn instances(&self, before: &[String], start: &str) -> Vec<String> {
        let subnet = value_of("--subnet", before);
        let subnets = self.vpcs_named(before).into_iter().flatten();
        let instances: BTreeSet<&String> =
            subnets.filter(|(name, _)| subnet.is_none_or(|subnet| subnet == *name)).flat_map(|(_, all)| all).collect();
        beginning(instances, start)
    }

    fn vpcs_named(&self, before: &[String]) -> Vec<&Subnets> {
        let named = value_of("--vpc", before).or_else(|| {
            let known = before.iter().skip(2).find(|word| self.0.contains_key(*word));
            known.map(String::as_str)
        });
        match named {
            Some(vpc) => self.0.get(vpc).into_iter().collect(),
            None => self.0.values().collect(),
        }
    }

    /// The paths of `least` to `most` parts that continue `start`, part by part; a part that is the only one brings the next.
    pub fn paths(&self, start: &str, least: usize, most: usize) -> Vec<String> {
        let (parents, last) = start
            .rsplit_once('/')
            .map_or((vec![], start), |(parents, last)| (parents.split('/').map(str::to_owned).collect(), last));
        let parts = parents.len() + 1;
        let prefix = start[..start.len() - last.len()].to_owned();
        if parts > most {
            return Vec::new();
        }
        let found = self.below(&parents, last);
        let only = found.len() == 1 && parts < most;
        let mut paths = Vec::new();
        for name in &found {
            let path = format!("{prefix}{name}");
            let next = if only { self.paths(&format!("{path}/"), least, most) } else { vec![] };
            match (parts < least, next.is_empty()) {
                (true, true) => paths.push(format!("{path}/")),
                (true, false) => {}
                (false, _) => paths.push(path),
            }
            paths.extend(next);
        }
        paths
    }

    /// The names below a path that begin with `start`: VPCs below nothing, subnets below a VPC, instances below a subnet.
    pub fn below(&self, path: &[String], start: &str) -> Vec<String> {
        let subnets = path.first().and_then(|vpc| self.0.get(vpc));
        match path {
            [] => self.vpcs(start),
            [_] => subnets.map(|subnets| beginning(subnets.keys(), start)).unwrap_or_default(),
            [_, subnet] => {
                let instances = subnets.and_then(|subnets| subnets.get(subnet));
                instances.map(|instances| beginning(instances, start)).unwrap_or_default()
            }
            _ => Vec::new(),
        }
    }
}

fn beginning<'a>(names: impl IntoIterator<Item = &'a String>, start: &str) -> Vec<String> {
    names.into_iter().filter(|name| name.starts_with(start)).cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    fn names() -> Names {
        Names::of_namespaces(words("vpc1 vpc1-public vpc1-public-web2 vpc1-private vpc2 vpc2-app docker0 other"))
    }

    #[test]
    fn namespaces_that_look_like_a_vpc() {
        let names = names();
        assert_eq!(names.vpcs(""), ["vpc1", "vpc2"]);
        assert_eq!(names.paths("vpc1/", 1, 3), ["vpc1/private", "vpc1/public"]);
        assert_eq!(names.below(&words("vpc1 public"), ""), ["web2"]);
    }

    #[test]
    fn paths_grow_part_by_part() {
        let names = names();
        assert_eq!(names.paths("v", 1, 3), ["vpc1", "vpc2"]);
        assert_eq!(names.paths("v", 2, 3), ["vpc1/", "vpc2/"]);
        assert_eq!(names.paths("vpc1/pub", 2, 3), ["vpc1/public", "vpc1/public/web2"]);
        assert_eq!(names.paths("vpc1/pub", 2, 2), ["vpc1/public"]);
        assert_eq!(names.paths("vpc2", 1, 2), ["vpc2", "vpc2/app"]);
        assert_eq!(names.paths("vpc9/", 1, 3), [""; 0]);
        assert_eq!(names.paths("vpc1/public/web2/x", 1, 3), [""; 0]);
    }

    #[test]
    fn what_is_to_be_made_has_no_name_yet() {
        let names = names();
        assert_eq!(names.paths("v", 2, 1), ["vpc1/", "vpc2/"]);
        assert_eq!(names.paths("vpc1/", 2, 1), [""; 0]);
        assert_eq!(names.paths("vpc1/", 3, 2), ["vpc1/private/", "vpc1/public/"]);
    }

    #[test]
    fn a_subnet_is_one_of_the_vpc_that_was_named() {
        let names = names();
        assert_eq!(names.subnets(&words("vpcctl enable-nat --vpc vpc2 --subnet"), ""), ["app"]);
        assert_eq!(names.subnets(&words("vpcctl enable-nat vpc1 --subnet"), "pu"), ["public"]);
        assert_eq!(names.subnets(&words("vpcctl enable-nat --subnet"), ""), ["app", "private", "public"]);
        assert_eq!(names.instances(&words("vpcctl x --vpc vpc1 --subnet private --instance"), ""), [""; 0]);
        assert_eq!(names.instances(&words("vpcctl x --vpc vpc1 --subnet public --instance"), ""), ["web2"]);
    }
}
