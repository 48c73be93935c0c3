//! Whether the caller may do what vpcctl does.

use crate::error::{Failure, Kind, Result};

/// The capabilities that every change needs, with their numbers in `linux/capability.h`.
const NEEDED: [(&str, u32); 2] = [("CAP_NET_ADMIN", 12), ("CAP_SYS_ADMIN", 21)];

/// Refuses a caller who lacks a capability that the kernel will ask for.
pub fn check() -> Result<()> {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let Some(effective) = status.lines().find_map(|line| line.strip_prefix("CapEff:")) else {
        return Ok(());
    };
    let effective = u64::from_str_radix(effective.trim(), 16).unwrap_or(u64::MAX);
    let lacking: Vec<&str> =
        NEEDED.iter().filter(|(_, number)| effective & (1 << number) == 0).map(|(name, _)| *name).collect();
    if lacking.is_empty() {
        return Ok(());
    }
    let message = format!("changing the network needs root ({} missing)", lacking.join(" and "));
    Err(Failure::new(Kind::Privilege, message).hint("run it with sudo, or try it without: vpcctl sandbox"))
}
