//! The networks that are measured.

use anyhow::Result;
use vpcctl::host::facts;
use vpcctl::model::edit::{self, DEFAULT_POOL, NatSpec, SubnetSpec, VpcSpec};
use vpcctl::model::facts::HostFacts;
use vpcctl::model::name::{Name, VpcName};
use vpcctl::model::state::{State, SubnetType};

/// The commands that make the network of the first steps: one VPC, two subnets, NAT.
pub const FOUR_COMMANDS: [&[&str]; 4] = [
    &["create-vpc", "vpc1", "10.0.0.0/16"],
    &["add-subnet", "vpc1", "public", "10.0.1.0/24", "--public"],
    &["add-subnet", "vpc1", "private", "10.0.2.0/24"],
    &["enable-nat", "vpc1"],
];

/// What those four commands make.
pub fn first_steps() -> Result<State> {
    let mut state = State::default();
    let facts = facts::gather(&state, true)?;
    let vpc: VpcName = "vpc1".parse()?;
    create(&mut state, &vpc, "10.0.0.0/16", &facts)?;
    add(&mut state, &vpc, "public", "10.0.1.0/24", SubnetType::Public)?;
    add(&mut state, &vpc, "private", "10.0.2.0/24", SubnetType::Private)?;
    let pool = DEFAULT_POOL.parse()?;
    let spec = NatSpec { vpc, subnet: None, wan: None, nameservers: vec![], pool };
    let facts = facts::gather(&state, true)?;
    edit::enable_nat(&mut state, &spec, &facts)?;
    Ok(state)
}

/// So many VPCs with so many subnets each, and the host's access to all.
pub fn grid(vpcs: u8, subnets: u8) -> Result<State> {
    let mut state = State::default();
    let facts = facts::gather(&state, true)?;
    for n in 0..vpcs {
        let vpc: VpcName = format!("vpc{n}").parse()?;
        create(&mut state, &vpc, &format!("10.{n}.0.0/16"), &facts)?;
        for m in 0..subnets {
            let kind = if m % 2 == 0 { SubnetType::Public } else { SubnetType::Private };
            add(&mut state, &vpc, &format!("subnet{m}"), &format!("10.{n}.{m}.0/24"), kind)?;
        }
    }
    Ok(state)
}

fn create(state: &mut State, name: &VpcName, cidr: &str, facts: &HostFacts) -> Result<()> {
    let pool = DEFAULT_POOL.parse()?;
    let spec = VpcSpec { name: name.clone(), cidr: cidr.parse()?, host_access: true, wan: None, pool };
    Ok(edit::create_vpc(state, &spec, facts)?)
}

fn add(state: &mut State, vpc: &VpcName, name: &str, cidr: &str, kind: SubnetType) -> Result<()> {
    let name: Name = name.parse()?;
    Ok(edit::add_subnet(state, &SubnetSpec { vpc: vpc.clone(), name, cidr: cidr.parse()?, kind })?)
}
