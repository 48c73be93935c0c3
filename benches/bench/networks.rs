//! The networks that are measured.

use anyhow::Result;
use serde_json::json;
use vpcctl::host::facts::{self, Asked};
use vpcctl::model::edit::{self, DEFAULT_POOL, SubnetSpec, VpcSpec};
use vpcctl::model::state::{State, SubnetType};

/// The commands that make the network of the first steps: one VPC, two subnets, NAT.
pub const FOUR_COMMANDS: [&[&str]; 4] = [
    &["create-vpc", "vpc1", "10.0.0.0/16"],
    &["add-subnet", "vpc1", "public", "10.0.1.0/24", "--public"],
    &["add-subnet", "vpc1", "private", "10.0.2.0/24"],
    &["enable-nat", "vpc1"],
];

/// The VPC beside a grid.
pub const ONE_MORE: &str = "more";

/// How many subnets a VPC of a grid has.
const SUBNETS_OF_A_VPC: usize = 10;

/// Many VPCs with many subnets, each with an instance, and the host's access to all.
pub struct Grid {
    vpcs: Vec<GridVpc>,
}

struct GridVpc {
    name: String,
    cidr: String,
    subnets: Vec<(String, String)>,
}

impl Grid {
    /// So many subnets, ten to a VPC.
    pub fn of_subnets(subnets: usize) -> Self {
        let vpc = |n: usize| GridVpc::new(n, SUBNETS_OF_A_VPC.min(subnets - n * SUBNETS_OF_A_VPC));
        Grid { vpcs: (0..subnets.div_ceil(SUBNETS_OF_A_VPC)).map(vpc).collect() }
    }

    /// So many VPCs of one subnet.
    pub fn of_vpcs(vpcs: usize) -> Self {
        Grid { vpcs: (0..vpcs).map(|n| GridVpc::new(n, 1)).collect() }
    }

    /// As a topology file.
    pub fn topology(&self) -> String {
        let subnet = |(name, cidr): &(String, String)| json!({"name": name, "cidr": cidr});
        let vpc = |vpc: &GridVpc| {
            let subnets: Vec<_> = vpc.subnets.iter().map(subnet).collect();
            json!({"name": vpc.name, "cidr": vpc.cidr, "subnets": subnets})
        };
        let vpcs: Vec<_> = self.vpcs.iter().map(vpc).collect();
        json!({"version": 1, "vpcs": vpcs}).to_string()
    }

    /// As a state, on the host as it is.
    pub fn state(&self) -> Result<State> {
        let mut state = State::default();
        self.add_to(&mut state)?;
        Ok(state)
    }

    /// Beside what is in a state.
    pub fn add_to(&self, state: &mut State) -> Result<()> {
        let facts = facts::gather(state, Asked { firewall: true, barriers_to: None, ahead: None })?;
        let pool = DEFAULT_POOL.parse()?;
        for GridVpc { name, cidr, subnets } in &self.vpcs {
            let spec = VpcSpec { name: name.parse()?, cidr: cidr.parse()?, host_access: true, wan: None, pool };
            edit::create_vpc(state, &spec, &facts)?;
            for (subnet, cidr) in subnets {
                let (vpc, name, cidr) = (spec.name.clone(), subnet.parse()?, cidr.parse()?);
                edit::add_subnet(state, &SubnetSpec { vpc, name, cidr, kind: SubnetType::Private })?;
            }
        }
        Ok(())
    }
}

impl GridVpc {
    fn new(n: usize, subnets: usize) -> Self {
        let subnets = (0..subnets).map(|m| (format!("subnet{m}"), format!("10.{n}.{m}.0/24"))).collect();
        GridVpc { name: format!("vpc{n}"), cidr: format!("10.{n}.0.0/16"), subnets }
    }
}
