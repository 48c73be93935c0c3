//! The network in Graphviz's format: VPCs and subnets are clusters. `dot -Tsvg` lays it out.

use std::fmt::Write;

use crate::model::state::SubnetType;
use crate::view::graph::{InstanceBox, Network, Peered, Rules, SubnetBox, To, VpcBox};

/// From so many instances on, a subnet has them in rows.
const COLUMNS: usize = 4;

/// The network as a graph.
pub fn dot(network: &Network) -> String {
    let mut text = String::from(
        "digraph network {\n  graph [compound=true, rankdir=TB, fontname=\"sans-serif\", fontsize=12];\n  \
         node [shape=box, style=\"rounded,filled\", fillcolor=white, fontname=\"sans-serif\", fontsize=11];\n  \
         edge [fontname=\"sans-serif\", fontsize=10];\n",
    );
    if !network.wans.is_empty() {
        text.push_str("  internet [label=\"internet\", shape=ellipse];\n");
    }
    if !network.wans.is_empty() || network.has_host_access() {
        text.push_str("  host [label=\"host\", style=filled, fillcolor=\"#eeeeee\"];\n");
    }
    for wan in &network.wans {
        let _ = writeln!(text, "  internet -> host [label={}, dir=back, color=\"#2e7d32\"];", quoted([wan]));
    }
    network.vpcs.iter().for_each(|vpc| push_vpc(&mut text, vpc));
    network.vpcs.iter().for_each(|vpc| push_ways(&mut text, vpc));
    network.peerings.iter().for_each(|peered| push_peering(&mut text, peered));
    text + "}\n"
}

fn push_vpc(text: &mut String, vpc: &VpcBox) {
    let router = router(vpc.name.as_str());
    let label = quoted([format!("{}  {}", vpc.name, vpc.cidr)]);
    let _ = writeln!(text, "  subgraph {} {{", quoted([format!("cluster:{}", vpc.name)]));
    let _ = writeln!(text, "    label={label}; style=rounded; color=\"#555555\"; bgcolor=\"#f7f7f7\";");
    let _ = writeln!(text, "    {router} [label=\"router\", shape=octagon, style=filled];");
    for subnet in &vpc.subnets {
        push_subnet(text, vpc, subnet);
    }
    text.push_str("  }\n");
}

fn push_subnet(text: &mut String, vpc: &VpcBox, subnet: &SubnetBox) {
    let policy = subnet.policy.map(Rules::words);
    let head = format!("{}  {}", subnet.name, subnet.cidr);
    let label = quoted([head, subnet.kind_words()].into_iter().chain(policy));
    let look = match subnet.kind {
        SubnetType::Public => "style=\"rounded,filled\"; color=\"#2e7d32\"; fillcolor=\"#e8f5e9\"",
        SubnetType::Private => "style=\"rounded,dashed,filled\"; color=\"#8a5a00\"; fillcolor=\"#fff8e1\"",
    };
    let _ = writeln!(text, "    subgraph {} {{", quoted([format!("cluster:{}/{}", vpc.name, subnet.name)]));
    let _ = writeln!(text, "      label={label}; {look};");
    for instance in &subnet.instances {
        let _ = writeln!(text, "      {} [label={}];", node(instance), quoted(instance.lines()));
    }
    text.push_str("    }\n");
    for (index, instance) in subnet.instances.iter().enumerate() {
        match index.checked_sub(COLUMNS).map(|above| &subnet.instances[above]) {
            None => {
                let router = router(vpc.name.as_str());
                let _ = writeln!(text, "    {router} -> {} [dir=none, color=\"#999999\"];", node(instance));
            }
            Some(above) => {
                let _ = writeln!(text, "    {} -> {} [style=invis];", node(above), node(instance));
            }
        }
    }
}

fn push_ways(text: &mut String, vpc: &VpcBox) {
    let router = router(vpc.name.as_str());
    for way in &vpc.ways {
        let label = quoted(&way.words);
        // Drawn from above: the internet is at the top, whoever opens the connection.
        let line = match &way.to {
            To::Internet(_) => format!("host -> {router} [label={label}, dir=back, color=\"#2e7d32\"]"),
            To::Host => format!("host -> {router} [label={label}, style=dashed, color=\"#555555\"]"),
            To::Peer(_) | To::Nowhere => continue,
        };
        let _ = writeln!(text, "  {line};");
    }
}

fn push_peering(text: &mut String, peered: &Peered) {
    let [a, b] = peered.ends.each_ref().map(|vpc| router(vpc.as_str()));
    let dir = match peered.enters {
        [true, true] => "both",
        [true, false] => "back",
        [false, true] => "forward",
        [false, false] => "none",
    };
    let label = quoted(peered.words());
    let _ = writeln!(text, "  {a} -> {b} [label={label}, dir={dir}, color=\"#1565c0\"];");
}

fn router(vpc: &str) -> String {
    quoted([format!("router:{vpc}")])
}

fn node(instance: &InstanceBox) -> String {
    quoted([&instance.path])
}

/// Lines as a string of Graphviz's, in which a label's escapes and entities mean nothing but themselves.
fn quoted<T: ToString>(lines: impl IntoIterator<Item = T>) -> String {
    let escaped = |line: T| line.to_string().replace('\\', "\\\\").replace('"', "\\\"").replace('&', "&amp;");
    format!("\"{}\"", lines.into_iter().map(escaped).collect::<Vec<_>>().join("\\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_app_is_called_stays_a_label() {
        assert_eq!(quoted(["a\"]; b", "c\\n&lt;"]), r#""a\"]; b\nc\\n&amp;lt;""#);
    }
}
