//! Random networks as topology files.

use std::fmt::Write as _;

/// The VPCs that may be there: two share addresses.
const VPCS: [(&str, &str); 4] = [("a", "10.10"), ("b", "10.20"), ("c", "10.30"), ("d", "10.20")];

const SUBNETS: [&str; 2] = ["web", "db"];

/// Numbers from a seed: splitmix64.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// One in `of`.
    fn once_in(&mut self, of: u64) -> bool {
        self.next().is_multiple_of(of)
    }

    fn pick<'a, T: ?Sized>(&mut self, choices: &[&'a T]) -> &'a T {
        choices[self.next() as usize % choices.len()]
    }
}

/// The network of a seed.
pub fn topology(seed: u64) -> String {
    let mut dice = Dice(seed);
    let mut text = "version: 1\nvpcs:\n".to_owned();
    let vpcs: Vec<(&str, &str)> = VPCS.into_iter().filter(|(name, _)| *name == "a" || !dice.once_in(4)).collect();
    for (name, net) in &vpcs {
        vpc(&mut dice, name, net, &mut text);
    }
    let _ = writeln!(text, "peerings:{}", peerings(&mut dice, &vpcs));
    text
}

fn vpc(dice: &mut Dice, name: &str, net: &str, text: &mut String) {
    let _ = writeln!(text, "- name: {name}\n  cidr: {net}.0.0/16\n  host-access: {}", !dice.once_in(3));
    let kinds = SUBNETS.map(|_| dice.pick(&["public", "public", "private"]));
    let nat = match dice.next() % 3 {
        0 => "false".to_owned(),
        1 if kinds[0] == "public" => "{subnets: [web]}".into(),
        _ => "true".into(),
    };
    let _ = writeln!(text, "  nat: {nat}\n  subnets:");
    for (index, (subnet, kind)) in SUBNETS.into_iter().zip(kinds).enumerate() {
        let _ = writeln!(text, "  - name: {subnet}\n    cidr: {net}.{}.0/24\n    type: {kind}", index + 1);
        policy(dice, "    ", text);
        if dice.once_in(2) {
            let _ = writeln!(text, "    instances:\n    - name: two");
            policy(dice, "      ", text);
        }
    }
}

/// No policy, or a random one; at times one so long that it comes as sets.
fn policy(dice: &mut Dice, indent: &str, text: &mut String) {
    if dice.once_in(2) {
        return;
    }
    let _ = writeln!(text, "{indent}policy:");
    for (direction, side) in [("ingress", "source"), ("egress", "destination")] {
        let rules = if dice.once_in(6) { 70 } else { dice.next() % 4 };
        let rules: Vec<String> = (0..rules).map(|_| rule(dice, side)).collect();
        let _ = writeln!(text, "{indent}  {direction}: [{}]", rules.join(", "));
    }
    let actions = ["allow", "allow", "deny", "reject"];
    let (ingress, egress) = (dice.pick(&actions), dice.pick(&actions));
    let _ = writeln!(text, "{indent}  default: {{ingress: {ingress}, egress: {egress}}}");
}

fn rule(dice: &mut Dice, side: &str) -> String {
    let action = dice.pick(&["allow", "allow", "deny", "reject"]);
    let protocol = dice.pick(&["tcp", "tcp", "udp", "icmp", "all"]);
    let port = match protocol {
        "icmp" => "",
        _ => dice.pick(&["", ", port: 80", ", port: \"20-100\"", ", port: [22, 5432]", ", port: \"1000-60000\""]),
    };
    let peer = dice.pick(&[
        "any",
        "10.10.0.0/16",
        "10.10.1.0/24",
        "10.20.2.2/32",
        "10.0.0.0/8",
        "203.0.113.0/24",
        "198.19.0.0/16",
        "10.20.1.0/24",
        "10.30.0.0/17",
    ]);
    format!("{{action: {action}, protocol: {protocol}{port}, {side}: \"{peer}\"}}")
}

/// Peerings of those that share no addresses, whole or between parts.
fn peerings(dice: &mut Dice, vpcs: &[(&str, &str)]) -> String {
    let mut text = String::new();
    let mut peered: Vec<(&str, &str)> = Vec::new();
    for (index, (one, net)) in vpcs.iter().enumerate() {
        for (other, far) in &vpcs[index + 1..] {
            // Nobody has two ways to the same addresses.
            let has_way = |vpc: &str, to: &str| peered.contains(&(vpc, to));
            if net == far || has_way(one, far) || has_way(other, net) || dice.once_in(3) {
                continue;
            }
            peered.extend([(*one, *far), (*other, *net)]);
            let _ = write!(text, "\n- vpcs: [{one}, {other}]");
            if dice.once_in(2) {
                let (from, to) =
                    (dice.pick(&["0.0/16", "1.0/24", "2.2/32"]), dice.pick(&["0.0/16", "1.0/24", "2.0/23"]));
                let _ = write!(
                    text,
                    "\n  allow: [{{src: {net}.{from}, dst: {far}.{to}}}, {{src: {far}.1.0/24, dst: {net}.2.0/24}}]"
                );
            }
        }
    }
    if text.is_empty() { " []".into() } else { text }
}
