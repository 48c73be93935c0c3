//! Tools that fail or kill: every tool that vpcctl starts is replaced, in one sandbox, by one that counts its calls.

use super::Sandbox;

/// The tools that vpcctl starts.
const TOOLS: &str = "ip bridge ipset iptables iptables-save iptables-restore nft";

/// Counts calls by who manages to create the next file; the n-th does what `/run/shim/mode` says.
const SHIM: &str = r#"#!/bin/sh
tool=${0##*/}
read -r mode at </run/shim/mode
set -C
i=1
until true 2>/dev/null >/run/shim/calls/$i; do i=$((i + 1)); done
set +C
echo "$tool $*" >/run/shim/calls/$i
case $mode in
fail) [ "$i" -eq "$at" ] && { echo "RTNETLINK answers: Device or resource busy" >&2; exit 2; } ;;
fail-from) [ "$i" -ge "$at" ] && { echo "RTNETLINK answers: Device or resource busy" >&2; exit 2; } ;;
kill-before) [ "$i" -eq "$at" ] && { kill -9 $PPID; exit 1; } ;;
kill-after) [ "$i" -eq "$at" ] && { /run/real/$tool "$@"; kill -9 $PPID; exit 0; } ;;
signal) [ "$i" -eq "$at" ] && kill -TERM $PPID ;;
esac
exec /run/real/$tool "$@"
"#;

/// What happens at the n-th call of a tool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Nothing ever.
    None,
    /// It fails.
    Fail(usize),
    /// It and all that follow fail.
    FailFrom(usize),
    /// vpcctl is killed in its stead.
    KillBefore(usize),
    /// It works, and then vpcctl is killed.
    KillAfter(usize),
    /// vpcctl gets SIGTERM, and it works.
    Signal(usize),
}

impl Sandbox {
    /// Puts the shims in place of the tools: a directory over /usr/sbin that has them, and links to all else.
    pub fn install_shims(&mut self) {
        let shim = self.file("shim.sh", SHIM);
        self.ok(&format!(
            "mkdir -p /run/real /run/shim/calls /run/shim/sbin && mount --bind /usr/sbin /run/real
             cd /run/shim/sbin && for f in /run/real/*; do ln -s $f .; done
             for tool in {TOOLS}; do rm -f $tool && cp {shim} $tool && chmod 755 $tool; done
             echo none 0 >/run/shim/mode
             mount --bind /run/shim/sbin /usr/sbin"
        ));
    }

    /// From now on this happens, counted from the next call.
    pub fn fault(&mut self, fault: Fault) {
        let mode = match fault {
            Fault::None => "none 0".to_owned(),
            Fault::Fail(n) => format!("fail {n}"),
            Fault::FailFrom(n) => format!("fail-from {n}"),
            Fault::KillBefore(n) => format!("kill-before {n}"),
            Fault::KillAfter(n) => format!("kill-after {n}"),
            Fault::Signal(n) => format!("signal {n}"),
        };
        self.ok(&format!("rm -f /run/shim/calls/*; echo {mode} >/run/shim/mode"));
    }

    /// The calls since [`Sandbox::fault`], in order.
    pub fn calls(&mut self) -> Vec<String> {
        let text = self.ok("cd /run/shim/calls && for f in $(ls | sort -n); do cat $f; done");
        text.lines().map(str::to_owned).collect()
    }
}
