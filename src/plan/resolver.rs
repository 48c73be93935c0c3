//! Names resolve in public subnets: `ip netns exec` puts what is in `/etc/netns/NAMESPACE` over `/etc` (ip-netns(8)), so that a
//! namespace can have other name servers than the host, whose own may be a stub on 127.0.0.53.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use crate::model::kernel_names::Netns;

/// Where `ip netns exec` looks for a namespace's own files.
pub const DIR: &str = "/etc/netns";

/// The first line of a file of ours.
pub const FILE_MARK: &str = "# made by vpcctl";

/// A namespace's resolv.conf.
pub fn path(netns: &Netns) -> PathBuf {
    Path::new(DIR).join(netns.as_str()).join("resolv.conf")
}

/// What is in it.
pub fn text(servers: &[Ipv4Addr]) -> String {
    let servers: String = servers.iter().map(|server| format!("nameserver {server}\n")).collect();
    format!("{FILE_MARK}\n{servers}")
}
