//! The start of an app as a command line: `ip netns exec NAMESPACE vpcctl run-app …`, for the kernel and for the eye alike.

use std::net::Ipv4Addr;

use crate::model::app::{App, Port};
use crate::model::kernel_names::{self as names, Netns};
use crate::model::name::{Name, VpcName};
use crate::model::owner::Target;
use crate::model::state::{State, Subnet};

/// The hidden subcommand that starts an app in the namespace that it is called in.
pub const RUN_SUBCOMMAND: &str = "run-app";

/// The hidden subcommand that ends an app.
pub const END_SUBCOMMAND: &str = "end-app";

/// An app, and where it runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Launch {
    /// The instance; a subnet's path is its first one's.
    pub instance: Target,
    /// The instance's address.
    pub address: Ipv4Addr,
    /// The port that it listens on.
    pub port: Port,
    /// The program.
    pub app: App,
}

/// Which app it is, on the whole host.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct AppId {
    /// The namespace that it runs in.
    pub netns: Netns,
    /// Its port.
    pub port: Port,
}

impl Launch {
    /// Which app it is.
    pub fn id(&self) -> AppId {
        AppId { netns: self.netns(), port: self.port }
    }

    /// The namespace that it runs in.
    pub fn netns(&self) -> Netns {
        names::of_target(&self.instance)
    }

    /// It and the further arguments that say the same to a hidden subcommand.
    pub fn words(&self, subcommand: &str) -> Vec<String> {
        let App { command, user, directory, wait } = &self.app;
        let mut words = vec![subcommand.to_owned(), self.instance.to_string()];
        let options = [
            ("--address", self.address.to_string()),
            ("--port", self.port.to_string()),
            ("--user", user.to_string()),
            ("--directory", directory.display().to_string()),
            ("--wait", wait.to_string()),
        ];
        words.extend(options.into_iter().flat_map(|(flag, value)| [flag.to_owned(), value]));
        if !command.is_empty() {
            words.push("--".into());
            words.extend(command.iter().cloned());
        }
        words
    }

    /// The arguments of `ip` that run `vpcctl`, with its own arguments, in the app's namespace.
    pub fn entering(&self, vpcctl: &[String]) -> Vec<String> {
        let enter = ["netns".to_owned(), "exec".to_owned(), self.netns().to_string()];
        enter.into_iter().chain(vpcctl.iter().cloned()).chain(self.words(RUN_SUBCOMMAND)).collect()
    }
}

/// The apps of all instances.
pub fn all(state: &State) -> impl Iterator<Item = Launch> {
    let subnets =
        state.vpcs.iter().flat_map(|(vpc, found)| found.subnets.iter().map(move |(name, of)| (vpc, name, of)));
    subnets.flat_map(|(vpc, name, subnet)| {
        let instances = subnet.all_instances();
        instances.flat_map(move |(instance, address, _)| of_instance(vpc, name, subnet, instance, address))
    })
}

/// The apps of one instance; a subnet's first has no name.
pub fn of_instance(
    vpc: &VpcName,
    name: &Name,
    subnet: &Subnet,
    instance: Option<&Name>,
    address: Ipv4Addr,
) -> impl Iterator<Item = Launch> {
    let path = Target { vpc: vpc.clone(), subnet: Some(name.clone()), instance: instance.cloned() };
    let apps = subnet.apps_of(instance);
    apps.map(move |(port, app)| Launch { instance: path.clone(), address, port, app: app.clone() })
}

impl AppId {
    /// The file in which an app's record, log or other part is kept has this name, but for its ending.
    pub fn file_stem(&self) -> String {
        format!("{}.{}", self.netns, self.port)
    }

    /// The arguments of vpcctl that end it.
    pub fn end_words(&self) -> [String; 3] {
        [END_SUBCOMMAND.to_owned(), self.netns.to_string(), self.port.to_string()]
    }
}
