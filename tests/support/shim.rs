//! Tools that fail, hang or kill: every tool that vpcctl starts is replaced, in one sandbox, by one that counts its calls.

use super::Sandbox;

/// The tools that vpcctl starts.
const TOOLS: &str = "ip bridge tc ipset iptables iptables-save iptables-restore nft";

/// Counts calls by who manages to create the next file; the n-th does what `/run/shim/mode` says.
const SHIM: &str = r#"#!/bin/sh
tool=${0##*/}
read -r mode at </run/shim/mode
[ "$mode" = off ] && exec /run/real/$tool "$@"
set -C
i=1
until true 2>/dev/null >/run/shim/calls/$i; do i=$((i + 1)); done
set +C
echo "$tool $*" >/run/shim/calls/$i
busy() { echo "RTNETLINK answers: Device or resource busy" >&2; exit 2; }
half() {
    lines=$(cat)
    count=$(printf '%s\n' "$lines" | wc -l)
    printf '%s\n' "$lines" | head -n $(((count + 1) / 2)) | /run/real/$tool "$@" 2>/dev/null
}
case $mode in fail-from) [ "$i" -ge "$at" ] && busy ;; esac
if [ "$i" -eq "$at" ]; then
    case $mode in
    fail) busy ;;
    dies-after) /run/real/$tool "$@"; kill -9 $$ ;;
    dies) half "$@"; kill -9 $$ ;;
    kill-half) kill -9 $PPID; half "$@"; exit 1 ;;
    hangs) exec sleep 1000 ;;
    hangs-after) /run/real/$tool "$@"; exec sleep 1000 ;;
    kill-before) kill -9 $PPID; exit 1 ;;
    kill-during) kill -9 $PPID; sleep 0.1 ;;
    kill-after) /run/real/$tool "$@"; kill -9 $PPID; exit 0 ;;
    kill-hanging) kill -9 $PPID; exec sleep 1000 ;;
    HUP | INT | TERM) kill -$mode $PPID ;;
    esac
fi
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
    /// It works, and is killed then.
    DiesAfter(usize),
    /// It is killed when it has read half its input.
    Dies(usize),
    /// It hangs before it has done anything.
    Hangs(usize),
    /// It works, and hangs then.
    HangsAfter(usize),
    /// vpcctl is killed in its stead.
    KillBefore(usize),
    /// vpcctl is killed, and it works while vpcctl is dead.
    KillDuring(usize),
    /// vpcctl is killed, and it ends when it has read half its input.
    KillHalf(usize),
    /// It works, and then vpcctl is killed.
    KillAfter(usize),
    /// vpcctl is killed, and it hangs.
    KillHanging(usize),
    /// vpcctl gets this signal, `TERM` for instance, and it works.
    Signal(&'static str, usize),
}

impl Fault {
    /// The shim's word for it.
    pub fn mode(self) -> String {
        match self {
            Fault::None => "none 0".to_owned(),
            Fault::Fail(n) => format!("fail {n}"),
            Fault::FailFrom(n) => format!("fail-from {n}"),
            Fault::DiesAfter(n) => format!("dies-after {n}"),
            Fault::KillHalf(n) => format!("kill-half {n}"),
            Fault::Dies(n) => format!("dies {n}"),
            Fault::Hangs(n) => format!("hangs {n}"),
            Fault::HangsAfter(n) => format!("hangs-after {n}"),
            Fault::KillBefore(n) => format!("kill-before {n}"),
            Fault::KillDuring(n) => format!("kill-during {n}"),
            Fault::KillAfter(n) => format!("kill-after {n}"),
            Fault::KillHanging(n) => format!("kill-hanging {n}"),
            Fault::Signal(signal, n) => format!("{signal} {n}"),
        }
    }
}

impl Sandbox {
    /// Puts the shims in place of the tools: a directory over /usr/sbin that has them, and links to all else. They do nothing
    /// and don't count before [`Sandbox::fault`].
    pub fn install_shims(&mut self) {
        let shim = self.file("shim.sh", SHIM);
        self.ok(&format!(
            "mkdir -p /run/real /run/shim/calls /run/shim/sbin && mount --bind /usr/sbin /run/real
             cd /run/shim/sbin && for f in /run/real/*; do ln -s $f .; done
             for tool in {TOOLS}; do rm -f $tool && cp {shim} $tool && chmod 755 $tool; done
             echo off >/run/shim/mode
             mount --bind /run/shim/sbin /usr/sbin"
        ));
    }

    /// From now on this happens, counted from the next call.
    pub fn fault(&mut self, fault: Fault) {
        self.ok(&format!("rm -f /run/shim/calls/*; echo {} >/run/shim/mode", fault.mode()));
    }

    /// The calls since [`Sandbox::fault`], in order.
    pub fn calls(&mut self) -> Vec<String> {
        let text = self.ok("cd /run/shim/calls && for f in $(ls | sort -n); do cat $f; done");
        text.lines().map(str::to_owned).collect()
    }
}
