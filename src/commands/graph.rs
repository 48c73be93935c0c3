//! `vpcctl graph`.

use std::collections::BTreeSet;

use clap::Args;

use crate::model::name::VpcName;
use crate::session::Session;
use crate::ui::{Format, Picture};
use crate::view::graph::{Network, dot, mermaid, nodes, svg, text};

/// How wide a drawing in text is where it goes to no terminal, and how narrow a terminal may be.
const WIDTHS: (u16, u16) = (80, 60);

/// Draw the network: as text, SVG, Mermaid or DOT
///
/// VPCs as boxes with their subnets, instances, apps and policies, the way to the internet, peerings, and the host's access, from
/// the state file alone. Without -o it is drawn for the terminal, in plain ASCII where the locale isn't UTF-8. `-o svg` is a
/// picture for a browser, light or dark as the browser is, `-o mermaid` for Markdown, `-o dot` for Graphviz, and `-o json` has
/// nodes and edges for programs.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  vpcctl graph
  vpcctl graph -o svg > network.svg
  vpcctl graph vpc1 vpc2 -o mermaid")]
pub struct Graph {
    /// The VPCs, with the peerings between them [default: all]
    #[arg(value_name = "VPC")]
    vpcs: Vec<VpcName>,
    /// What -o asks for, where it is one of the pictures.
    #[arg(skip)]
    pub picture: Option<Picture>,
}

impl Graph {
    pub(super) fn run(&self, session: &Session<'_>) -> anyhow::Result<()> {
        let state = session.read()?;
        self.vpcs.iter().try_for_each(|vpc| state.vpc(vpc).map(|_| ()))?;
        let network = Network::new(&state, &self.vpcs.iter().cloned().collect::<BTreeSet<_>>());
        let drawing = match (self.picture, session.ui.format) {
            (Some(Picture::Svg), _) => svg::svg(&network),
            (Some(Picture::Mermaid), _) => mermaid::mermaid(&network),
            (Some(Picture::Dot), _) => dot::dot(&network),
            (Some(Picture::Text), _) | (None, Format::Table) => text::text(&network, pen(), width()),
            (None, Format::Json | Format::Yaml) => return session.ui.value(&nodes::graph(&network), |_| String::new()),
        };
        Ok(session.ui.data(&drawing)?)
    }
}

/// What the locale lets draw with: the first of its variables that says anything decides.
fn pen() -> &'static text::Pen {
    let variables = ["LC_ALL", "LC_CTYPE", "LANG"].map(|name| std::env::var(name).unwrap_or_default());
    let locale = variables.into_iter().find(|value| !value.is_empty()).unwrap_or_default().to_lowercase();
    if locale.contains("utf-8") || locale.contains("utf8") { &text::UNICODE } else { &text::ASCII }
}

fn width() -> usize {
    let columns = terminal_size::terminal_size_of(std::io::stdout()).map(|(width, _)| width.0);
    usize::from(columns.unwrap_or(WIDTHS.0).max(WIDTHS.1))
}
