//! What a network of VPCs is, and how it may change. Pure: no process, file, clock or environment.

pub mod app;
pub mod changes;
pub mod check;
pub mod cidr;
pub mod edit;
pub mod endpoint;
pub mod facts;
pub mod flavour;
pub mod hash;
pub mod kernel_names;
pub mod name;
pub mod owner;
pub mod policy;
pub mod policy_file;
pub mod state;
pub mod text;
pub mod topology_file;
mod unique;
