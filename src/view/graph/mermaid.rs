//! The network as a flowchart of Mermaid's, which GitHub and others draw where it stands in Markdown.

use std::collections::BTreeMap;
use std::fmt::Write;

use crate::view::graph::{Network, Peered, Rules, SubnetBox, To, VpcBox};

/// From so many instances on, a subnet has them in rows.
const COLUMNS: usize = 4;

/// The network as a flowchart.
pub fn mermaid(network: &Network) -> String {
    let mut text = String::from("flowchart TB\n");
    if !network.wans.is_empty() {
        text.push_str("  internet([\"internet\"])\n");
    }
    if !network.wans.is_empty() || network.has_host_access() {
        text.push_str("  host[\"host\"]\n");
    }
    for wan in &network.wans {
        let _ = writeln!(text, "  internet ---|{}| host", label([wan]));
    }
    for (index, vpc) in network.vpcs.iter().enumerate() {
        push_vpc(&mut text, index, vpc);
    }
    let numbers: BTreeMap<&str, usize> =
        network.vpcs.iter().enumerate().map(|(index, vpc)| (vpc.name.as_str(), index)).collect();
    network.peerings.iter().for_each(|peered| push_peering(&mut text, peered, &numbers));
    push_classes(&mut text, network);
    text
}

fn push_vpc(text: &mut String, index: usize, vpc: &VpcBox) {
    let _ = writeln!(text, "  subgraph v{index}[{}]", label([format!("{} {}", vpc.name, vpc.cidr)]));
    let _ = writeln!(text, "    v{index}r{{{{\"router\"}}}}");
    for (number, subnet) in vpc.subnets.iter().enumerate() {
        push_subnet(text, &format!("v{index}s{number}"), subnet);
    }
    text.push_str("  end\n");
    for number in 0..vpc.subnets.len() {
        let _ = writeln!(text, "  v{index}r --- v{index}s{number}");
    }
    for way in &vpc.ways {
        // Drawn from above: the internet is at the top, whoever opens the connection.
        let label = label(&way.words);
        let _ = match &way.to {
            To::Internet(_) => writeln!(text, "  host ---|{label}| v{index}r"),
            To::Host => writeln!(text, "  host -.->|{label}| v{index}r"),
            To::Peer(_) | To::Nowhere => Ok(()),
        };
    }
}

fn push_subnet(text: &mut String, id: &str, subnet: &SubnetBox) {
    let policy = subnet.policy.map(Rules::words);
    // Of several lines, all but the first would be behind the instances.
    let head = [format!("{} {}", subnet.name, subnet.cidr), subnet.kind_words()].into_iter().chain(policy);
    let _ = writeln!(text, "    subgraph {id}[{}]", label([head.collect::<Vec<_>>().join(", ")]));
    for (number, instance) in subnet.instances.iter().enumerate() {
        let _ = writeln!(text, "      {id}i{number}[{}]", label(instance.lines()));
    }
    // Rows below each other, by lines that are not shown.
    for number in COLUMNS..subnet.instances.len() {
        let _ = writeln!(text, "      {id}i{} ~~~ {id}i{number}", number - COLUMNS);
    }
    text.push_str("    end\n");
}

/// Public and private subnets look different.
fn push_classes(text: &mut String, network: &Network) {
    text.push_str("  classDef public stroke:#2e7d32,stroke-width:2px\n");
    text.push_str("  classDef private stroke:#8a5a00,stroke-width:2px,stroke-dasharray:5 4\n");
    for (index, vpc) in network.vpcs.iter().enumerate() {
        for (number, subnet) in vpc.subnets.iter().enumerate() {
            let _ = writeln!(text, "  class v{index}s{number} {}", subnet.kind.as_str());
        }
    }
}

fn push_peering(text: &mut String, peered: &Peered, numbers: &BTreeMap<&str, usize>) {
    let [Some(a), Some(b)] = peered.ends.each_ref().map(|vpc| numbers.get(vpc.as_str())) else {
        return;
    };
    let label = label(peered.words());
    let _ = match peered.enters {
        [true, true] => writeln!(text, "  v{a}r <==>|{label}| v{b}r"),
        [true, false] => writeln!(text, "  v{b}r ==>|{label}| v{a}r"),
        [false, true] => writeln!(text, "  v{a}r ==>|{label}| v{b}r"),
        [false, false] => writeln!(text, "  v{a}r ===|{label}| v{b}r"),
    };
}

/// Lines as a label in quotes. What is not plain is written by its number: nothing in it is markup.
fn label<T: ToString>(lines: impl IntoIterator<Item = T>) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || " .,:/-_".contains(c);
    let escaped = |line: T| -> String {
        let line = line.to_string();
        line.chars().map(|c| if plain(c) { c.to_string() } else { format!("#{};", u32::from(c)) }).collect()
    };
    format!("\"{}\"", lines.into_iter().map(escaped).collect::<Vec<_>>().join("<br/>"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_app_is_called_stays_a_label() {
        assert_eq!(label(["a\"]", "<b>#é"]), "\"a#34;#93;<br/>#60;b#62;#35;#233;\"");
    }
}
