//! The sandbox's two network namespaces: its host, which it starts in, and its internet.

use std::fs::{self, File};
use std::net::Ipv4Addr;
use std::os::fd::AsFd;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::error::{Failure, Kind, Result};
use crate::host::run;
use crate::model::owner::Owner;
use crate::plan::batch::{Call, InputLine, Program};
use crate::plan::line::Place;

/// The internet's address on the link to the host: the host's default route.
pub const GATEWAY: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 1);
/// The name server in the sandbox's /etc/resolv.conf.
pub const RESOLVER: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 53);
/// The address of `example.com`.
pub const EXAMPLE_COM: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 10);
/// The first address of the internet, a /24 of which every address answers.
pub const INTERNET: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 0);

const HOST: &str = "\
link set dev lo up
netns add internet
link add name eth0 mtu 1500 type veth peer name eth0 mtu 1500 netns internet
address add 198.51.100.10/24 dev eth0
link set dev eth0 up
route add default via 198.51.100.1 dev eth0
";

// The local route makes every address of the range the internet's own, without an `address add` for each.
const INTERNET_SIDE: &str = "\
link set dev lo up
address add 198.51.100.1/24 dev eth0
link set dev eth0 up
route add local 203.0.113.0/24 dev lo
";

/// Fails if a tool that the sandbox needs is missing.
pub fn find_tools() -> Result<()> {
    run::find(Program::Ip.as_str()).map(|_| ())
}

/// Makes the internet's namespace and the host's side of the link to it.
pub fn build_host() -> Result<()> {
    // New namespaces take `ip_forward` from the real host: the sandbox shall not depend on it.
    set_forwarding("0")?;
    batch("host", HOST)
}

/// Moves this thread, and those it starts, into the internet's namespace.
pub fn enter_internet() -> Result<()> {
    let failure = |e: std::io::Error| Failure::new(Kind::Failed, format!("cannot enter namespace `internet`: {e}"));
    let namespace = File::open("/run/netns/internet").map_err(failure)?;
    move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network)).map_err(|e| failure(e.into()))
}

/// Sets up the internet's side; this process is in its namespace.
pub fn build_internet() -> Result<()> {
    // A router says at once that an address is unreachable, where a mere host would drop the packet in silence.
    set_forwarding("1")?;
    batch("internet", INTERNET_SIDE)
}

fn set_forwarding(value: &str) -> Result<()> {
    let path = "/proc/sys/net/ipv4/ip_forward";
    fs::write(path, value).map_err(|e| Failure::new(Kind::Host, format!("cannot write {value} to `{path}`: {e}")))
}

/// Runs `lines` in one `ip -batch`, in this process's namespace.
fn batch(part: &str, lines: &str) -> Result<()> {
    let mut call = Call::plain(Place::Host, Program::Ip, &["-batch", "-"]);
    let line = |text: &str| InputLine { text: text.to_owned(), object: Owner::Host };
    call.input = lines.lines().map(line).collect();
    run::check(&call).map(|_| ()).map_err(|error| {
        Failure::new(
            Kind::Host,
            format!("cannot build the sandbox's {part}: `{}` failed: {}", error.command, error.reason),
        )
        .hint("the kernel needs veth and network namespaces: `modprobe veth`")
    })
}
