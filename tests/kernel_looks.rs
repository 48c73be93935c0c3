//! How vpcctl looks at the kernel: until a signal comes, never at half of a list, and at what is somebody else's too.

mod support;

use support::Sandbox;
use support::shim::Fault;

/// A tool that first does what the file `/run/odd/TOOL` says, where there is one.
const ODD: &str = r#"#!/bin/sh
tool=${0##*/}
test -e /run/odd/$tool && . /run/odd/$tool
exec /run/real/$tool "$@"
"#;

/// Puts [`ODD`] in place of tools that look.
fn with_odd_tools() -> Sandbox {
    let mut sandbox = Sandbox::new();
    let script = sandbox.file("odd.sh", ODD);
    sandbox.ok(&format!(
        "mkdir -p /run/real /run/odd/sbin && mount --bind /usr/sbin /run/real
         cd /run/odd/sbin && for f in /run/real/*; do ln -s $f .; done
         for tool in ip tc nft iptables-save; do rm -f $tool && cp {script} $tool && chmod 755 $tool; done
         mount --bind /run/odd/sbin /usr/sbin"
    ));
    sandbox
}

/// Runs vpcctl on one processor, where what looks has three threads, and tells its number and its exit code.
const ALONE: &str = r#"cpu=$(taskset -cp $$ | sed 's/.*: //; s/[,-].*//')
taskset -c $cpu vpcctl "$@" & pid=$!
echo pid $pid
trap : INT TERM HUP
wait $pid
echo code $?
"#;

#[test]
fn a_signal_ends_a_look_between_two_places() {
    let mut sandbox = with_odd_tools();
    sandbox.add_vpc1();
    sandbox.ok("mkfifo $T/wait");
    let alone = sandbox.file("alone.sh", ALONE);
    // The host, the router and an instance, of four places. What has begun there ends: the host's rules come after its links.
    for (name, signal, command, [begun, ended]) in [
        ("one", "INT", "check", ["3", "4"]),
        ("two", "TERM", "repair", ["3", "4"]),
        ("three", "HUP", "inspect", ["3", "4"]),
        ("four", "TERM", "restore", ["3", "4"]),
    ] {
        let gate = format!("gate-{name}");
        sandbox.start("host", &gate, "flock /run/odd/gate sh -c 'echo shut; cat $T/wait'");
        sandbox.wait_for_file(&format!("{gate}.out"), |out| out.contains("shut"));
        // An instance with rules of its own: else they would be known from the other.
        sandbox.ok("ip netns exec vpc1-public /run/real/iptables -A OUTPUT -m limit --limit 1/s -j ACCEPT");
        sandbox.ok("rm -f /run/odd/begun; echo 'echo $$ >>/run/odd/begun; flock -s /run/odd/gate true' >/run/odd/ip; cp /run/odd/ip /run/odd/iptables-save");
        sandbox.start("host", name, &format!("sh {alone} {command}"));
        sandbox.wait_for(&format!("test $(wc -l </run/odd/begun) = {begun}"));
        let out = sandbox.wait_for_file(&format!("{name}.out"), |out| out.contains("pid "));
        let pid = out.lines().find_map(|line| line.strip_prefix("pid ")).expect("a number");
        sandbox.ok(&format!("kill -{signal} {pid} && echo go >$T/wait"));
        let out = sandbox.wait_for_file(&format!("{name}.out"), |out| out.contains("code "));
        assert!(out.contains("code 130") && out.contains("error: interrupted"), "{command}: {out}");
        assert_eq!(sandbox.ok("wc -l </run/odd/begun").trim(), ended, "{command} looked on after SIG{signal}");
        sandbox.ok("rm /run/odd/ip /run/odd/iptables-save");
        sandbox.ok(
            "ip netns exec vpc1-public /run/real/iptables -D OUTPUT -m limit --limit 1/s -j ACCEPT && vpcctl check",
        );
    }
}

/// A bar is there after a second, be it the first step that takes so long, and it leaves nothing behind.
#[test]
fn a_terminal_shows_how_far_long_work_is() {
    let mut sandbox = with_odd_tools();
    sandbox.ok("mkfifo $T/wait");
    for (name, command, [done, bar], end) in [
        ("made", "create-vpc vpc1 10.0.0.0/16", [" 0/", " steps, "], "created VPC vpc1"),
        ("seen", "check", [" 1/2", " places looked at, "], "as they should be"),
    ] {
        let gate = format!("gate-{name}");
        sandbox.start("host", &gate, "flock /run/odd/gate sh -c 'echo shut; cat $T/wait'");
        sandbox.wait_for_file(&format!("{gate}.out"), |out| out.contains("shut"));
        sandbox.ok("echo 'flock -s /run/odd/gate true' >/run/odd/ip");
        sandbox.start("host", name, &format!("TERM=xterm script -qefc 'stty cols 80; vpcctl {command}' /dev/null"));
        let shown = sandbox.wait_for_file(&format!("{name}.out"), |out| out.contains(bar));
        assert!(shown.contains(done), "{shown:?}");
        sandbox.ok("echo go >$T/wait");
        let ended = sandbox.wait_for_file(&format!("{name}.out"), |out| out.contains(end));
        let last = ended.rsplit(bar).next().unwrap_or_default();
        // The line is cleared, and what comes next is the result.
        let (cleared, result) = last.rsplit_once("\u{1b}[2K").unwrap_or_else(|| panic!("{ended:?}"));
        assert!(!cleared.contains(end) && result.contains(end), "{ended:?}");
        sandbox.ok("rm /run/odd/ip");
    }
}

/// The kernel changed its list while it was printed, and `ip` ends with 0.
#[test]
fn half_of_a_list_is_never_taken_for_the_whole() {
    let mut sandbox = with_odd_tools();
    sandbox.add_vpc1();
    let before = sandbox.dump_host();
    let interrupted = |times: u32| {
        format!(
            "case \"$*\" in *'-batch'*) if [ $(cat /run/odd/asked | wc -l) -lt {times} ]; then
                 echo >>/run/odd/asked; echo 'Dump was interrupted and may be inconsistent.' >&2; exit 0; fi;; esac"
        )
    };
    for command in ["check", "repair", "enable-nat vpc1"] {
        sandbox.file("snippet", &interrupted(1000));
        sandbox.ok(": >/run/odd/asked; cp $T/snippet /run/odd/ip");
        let words = ["the kernel changed what it was listing", "hint: something on this host changes its network"];
        sandbox.fails(1, &format!("vpcctl {command}"), &words);
    }
    sandbox.file("snippet", &interrupted(3));
    sandbox.ok(": >/run/odd/asked; cp $T/snippet /run/odd/ip; vpcctl check; rm /run/odd/ip /run/odd/asked");
    before.assert_same(&sandbox.dump_host(), "before and after");
}

/// An iproute2 that writes filters and doesn't print them as JSON: nobody asks it.
#[test]
fn whether_there_is_a_filter_is_not_asked_of_tc() {
    let mut sandbox = with_odd_tools();
    sandbox.ok(r#"echo 'case "$*" in *show*|*-j*) echo >>/run/odd/asked; exit 1;; esac' >/run/odd/tc"#);
    sandbox.add_vpc1();
    sandbox.ok("vpcctl check && vpcctl repair && vpcctl add-instance vpc1/public/web2");
    sandbox.assert_vpc1_works();
    let real = "ip netns exec vpc1 /run/real/tc";
    let drops = "protocol ip bpf da bytecode '1,6 0 0 2'";
    sandbox.ok(&format!("{real} qdisc show dev br-vpc1 | grep clsact"));
    for change in [
        "filter replace dev br-vpc1 ingress pref 1 handle 1 protocol all bpf da bytecode '1,6 0 0 0'",
        "filter del dev br-vpc1 ingress pref 1",
        "qdisc del dev br-vpc1 clsact",
    ] {
        sandbox.ok(&format!("{real} {change}"));
        let found = sandbox.expect(9, "vpcctl check");
        assert!(found.stdout.contains("sender filter on br-vpc1 in vpc1"), "{change}: {}", found.report());
        sandbox.ok("vpcctl repair && vpcctl check");
    }
    // What comes after it is no concern, nor is a chain that nothing leads to, though it be listed first.
    sandbox.ok(&format!("{real} filter add dev br-vpc1 ingress pref 7 {drops} && vpcctl check"));
    sandbox.ok(&format!("{real} filter del dev br-vpc1 ingress pref 7 && {real} filter add dev br-vpc1 ingress pref 1 chain 7 {drops} && vpcctl check"));
    sandbox.ok(&format!("{real} filter del dev br-vpc1 ingress pref 1"));
    let found = sandbox.expect(9, "vpcctl check");
    assert!(
        found.stdout.contains("sender filter on br-vpc1 in vpc1") && found.stdout.contains("missing"),
        "{}",
        found.report()
    );
    sandbox.ok(&format!(
        "vpcctl repair && {real} filter show dev br-vpc1 ingress | head -n 1 | grep 'chain 7' && vpcctl check"
    ));
    sandbox.ok("! test -e /run/odd/asked");
}

/// Where the kernel knows no such filter, or where there is no `tc`, a VPC does without, and says so.
#[test]
fn a_vpc_does_without_a_filter_where_there_is_none() {
    let mut sandbox = with_odd_tools();
    let before = sandbox.dump_host();
    // What the lines before the failed one made is there.
    let said = |line: u8, words: &str| {
        format!(
            "head -n {} | /run/real/tc -batch -; echo '{words}' >&2; echo 'Command failed -:{line}' >&2; exit 1",
            line - 1
        )
    };
    let has_none = "! ip netns exec vpc1 /run/real/tc filter show dev br-vpc1 ingress | grep .";
    let note = "note: instances of a VPC could put fragments";
    for (line, words) in [
        (2, "Error: TC classifier not found."),
        (1, "Error: Specified qdisc kind is unknown."),
        (1, "RTNETLINK answers: Operation not supported"),
    ] {
        sandbox.file("snippet", &said(line, words));
        sandbox.ok("cp $T/snippet /run/odd/tc");
        sandbox.says("vpcctl create-vpc vpc1 10.0.0.0/16", &["created VPC vpc1", note]);
        sandbox.ok("vpcctl add-subnet vpc1 public 10.0.1.0/24 --public && vpcctl add-subnet vpc1 private 10.0.2.0/24 && vpcctl enable-nat vpc1");
        let second = sandbox
            .expect(0, "vpcctl create-vpc vpc2 10.1.0.0/16 && vpcctl check && ! ls /var/lib/vpcctl | grep intent");
        assert!(!second.stderr.contains("note:"), "{}", second.report());
        sandbox.assert_vpc1_works();
        sandbox.ok(&format!("{has_none} && rm /run/odd/tc && vpcctl repair && vpcctl check && {has_none}"));
        sandbox.ok("vpcctl export >$T/network.yaml; vpcctl cleanup-all --yes");
        before.assert_same(&sandbox.dump_host(), words);
    }
    // What a file describes, in which all VPCs are the first.
    sandbox.ok("cp $T/snippet /run/odd/tc");
    sandbox.says("vpcctl apply -f $T/network.yaml", &[note]);
    sandbox.ok("vpcctl check && rm /run/odd/tc");
    sandbox.assert_vpc1_works();
    sandbox.ok(&format!("{has_none} && vpcctl cleanup-all --yes"));
    before.assert_same(&sandbox.dump_host(), "after a file");
    sandbox.ok("rm /run/odd/sbin/tc");
    sandbox.says("vpcctl create-vpc vpc1 10.0.0.0/16", &[note]);
    sandbox.ok(&format!("vpcctl check && {has_none}"));
}

/// Anything else that goes wrong with a filter is a failure, and undone.
#[test]
fn a_filter_that_fails_is_not_done_without() {
    let mut sandbox = with_odd_tools();
    let before = sandbox.dump_host();
    for (words, vpc) in [
        ("RTNETLINK answers: Operation not permitted; Command failed -:2", "vpc1"),
        ("Cannot find device \"br-Unknown\"; Command failed -:1", "Unknown"),
        (
            "tc: error while loading shared libraries: libbpf.so.1: cannot open shared object file: No such file or directory",
            "vpc1",
        ),
        ("Error: TC classifier not found.", "vpc1"),
    ] {
        sandbox.file("snippet", &format!("cat >/dev/null; echo '{words}' | sed 's/; /\\n/' >&2; exit 1"));
        sandbox.ok("cp $T/snippet /run/odd/tc");
        let create = format!("vpcctl create-vpc {vpc} 10.0.0.0/16");
        sandbox.fails(1, &create, &[&words[..20], "hint: what the command had done was undone"]);
        sandbox.ok("rm /run/odd/tc");
        before.assert_same(&sandbox.dump_host(), words);
    }
    // Where something else fails beside it, that is why.
    sandbox.file(
        "snippet",
        "cat >/dev/null; echo 'Error: TC classifier not found.' >&2; echo 'Command failed -:2' >&2; exit 1",
    );
    sandbox.ok("cp $T/snippet /run/odd/tc; mv /run/odd/sbin/iptables-restore $T/restore");
    sandbox.ok("printf '#!/bin/sh\ncase $(cat) in *VPCCTL-PREROUTING*) echo odd rules >&2; exit 1;; esac\n' >/run/odd/sbin/iptables-restore");
    sandbox.ok("chmod 755 /run/odd/sbin/iptables-restore");
    sandbox.fails(
        1,
        "vpcctl create-vpc vpc1 10.0.0.0/16",
        &["odd rules", "hint: what the command had done was undone"],
    );
    sandbox.ok("rm /run/odd/tc && mv $T/restore /run/odd/sbin/iptables-restore");
    before.assert_same(&sandbox.dump_host(), "after two failures");

    // A VPC that came with a filter is not repaired without.
    sandbox.ok("vpcctl create-vpc vpc1 10.0.0.0/16 && cp $T/snippet /run/odd/tc");
    sandbox.ok("ip netns exec vpc1 /run/real/tc qdisc del dev br-vpc1 clsact");
    sandbox.fails(1, "vpcctl repair", &["TC classifier not found"]);
    sandbox.expect(9, "vpcctl check");
    sandbox.ok("rm /run/odd/tc && vpcctl repair && vpcctl check");
}

/// What has other people's names is looked at without a tool, and one that can't be looked at is said, and no obstacle.
#[test]
fn namespaces_of_others_are_looked_at_without_a_tool() {
    let mut sandbox = with_odd_tools();
    sandbox.add_vpc1();
    sandbox.ok("echo 'echo >>/run/odd/started' >/run/odd/ip && vpcctl check");
    // The host's, which the internet's namespace doesn't add to.
    let alone = sandbox.ok("wc -l </run/odd/started");
    assert_eq!(alone, "1\n");
    sandbox.ok("for i in 1 2 3 4 5 6; do /run/real/ip netns add other$i; done; : >/run/odd/started");
    let output = sandbox.expect(0, "vpcctl check");
    assert!(!output.stderr.contains("can't be looked at"), "{}", output.report());
    assert_eq!(sandbox.ok("wc -l </run/odd/started"), alone);
    // A mark that this state doesn't know is found there all the same.
    sandbox.ok("/run/real/ip -n other3 link set dev lo alias vpcctl:gone");
    let found = sandbox.expect(9, "vpcctl check");
    assert!(found.stdout.contains("namespace other3"), "{}", found.report());
    sandbox.ok("/run/real/ip -n other3 link set dev lo alias ''");
    sandbox.ok("rm /run/odd/ip; touch /run/netns/hostname && mount --bind /proc/self/ns/uts /run/netns/hostname");
    sandbox.says("vpcctl check", &["note: namespace `hostname`, which this state doesn't know, can't be looked at"]);
    sandbox.says("vpcctl repair", &["nothing changed"]);
}

/// A look takes two tools for each router and one for all instances together, however many there are; what only reads takes
/// none where there is much to read.
#[test]
fn a_look_starts_as_many_tools_for_many_instances_as_for_few() {
    let mut sandbox = Sandbox::new();
    sandbox.install_shims();
    // What it leads to tells the flavour of iptables.
    sandbox.ok("ln -sf /run/real/iptables-restore /run/shim/sbin/iptables-restore");
    sandbox.add_vpc1();
    let counts = |sandbox: &mut Sandbox, command: &str| {
        sandbox.fault(Fault::None);
        sandbox.ok(&format!("vpcctl {command}"));
        let calls = sandbox.calls();
        ["ip", "bridge", "tc", "ipset", "iptables-save"]
            .map(|tool| calls.iter().filter(|call| call.split(' ').next() == Some(tool)).count())
    };
    // `ip` for the host; the rules of the host, of the router, of all instances.
    let expected = |found: [usize; 5]| found == [1, 0, 0, 1, 3];
    let few = counts(&mut sandbox, "check");
    assert!(expected(few), "{few:?}");
    assert_eq!(counts(&mut sandbox, "list"), [0; 5]);
    assert!(counts(&mut sandbox, "inspect").iter().sum::<usize>() > 0, "the proof that it can be seen");
    sandbox.ok("for i in $(seq 22); do vpcctl add-instance -q vpc1/public i$i || exit; done");
    let many = counts(&mut sandbox, "check");
    assert!(expected(many), "{many:?}");
    assert_eq!(counts(&mut sandbox, "inspect"), [0; 5]);
    sandbox.says("vpcctl inspect vpc1", &["25 namespaces, which are not looked into"]);
    sandbox.ok("ip netns del vpc1-public-i7");
    let found = sandbox.ok("vpcctl inspect");
    assert!(found.contains("namespace vpc1-public-i7 is missing") && found.matches("missing").count() == 2, "{found}");
}

/// Rules that are the same everywhere are read once; the one namespace where they are not is found all the same.
#[test]
fn rules_that_differ_in_one_instance_are_seen_there() {
    let mut sandbox = Sandbox::with_vpc1();
    sandbox.ok("for i in 1 2 3; do vpcctl add-instance -q vpc1/public i$i || exit; done");
    let mischiefs = [
        ("iptables -F VPCCTL-INPUT", "chain VPCCTL-INPUT"),
        ("iptables -D INPUT 1", "jump INPUT"),
        ("iptables -I VPCCTL-INPUT -j ACCEPT", "chain VPCCTL-INPUT"),
        ("iptables -I INPUT -p tcp --dport 22 -j ACCEPT", "jump INPUT"),
        ("iptables -A VPCCTL-OUTPUT -m limit --limit 1/s -j DROP", "chain VPCCTL-OUTPUT"),
        ("sh -c 'iptables-save | sed s/INVALID/ESTABLISHED/ | iptables-restore'", "chain VPCCTL-OUTPUT"),
        ("sh -c 'iptables-save | sed s/DROP/ACCEPT/ | iptables-restore'", "chain VPCCTL-INPUT"),
        ("sh -c 'iptables-save | sed s/vpcctl:/vpcctl:0/ | iptables-restore'", "chain VPCCTL-OUTPUT"),
        ("nft delete table ip filter", "jump OUTPUT"),
    ];
    for (mischief, object) in mischiefs {
        sandbox.ok(&format!("vpcctl check && ip netns exec vpc1-public-i2 {mischief}"));
        let output = sandbox.expect(9, "vpcctl check");
        let is_there = |line: &&str| line.contains("vpc1-public-i2");
        let lines: Vec<&str> = output.stdout.lines().skip(1).collect();
        assert!(lines.iter().any(|line| line.contains(object)), "{mischief}: {}", output.report());
        assert!(lines.iter().all(is_there), "{mischief}: {}", output.report());
        sandbox.says("vpcctl repair", &["mended"]);
    }
    // What was counted is no difference.
    sandbox.ok("ip netns exec vpc1-public-i2 ping -c 1 10.0.1.1 && vpcctl check");
}

/// Rules are read while other things are asked, and may be others by the time that they are looked at.
#[test]
fn rules_that_change_after_they_were_read_are_read_again() {
    let mut sandbox = with_odd_tools();
    sandbox.ok("mkdir -m 700 $T/other");
    // Another's chain, for which `nft` is asked.
    sandbox
        .ok("nft add table inet other && nft 'add chain inet other forward { type filter hook forward priority 10; }'");
    sandbox.file("nft", "until [ -e /run/odd/go ]; do sleep 0.02; done");
    sandbox.file("iptables-save", "/run/real/iptables-save \"$@\"; echo >>/run/odd/saved; exit");
    let meanwhile = |sandbox: &mut Sandbox, name: &str, change: &str| {
        sandbox.ok("rm -f /run/odd/go /run/odd/saved; cp $T/nft $T/iptables-save /run/odd");
        sandbox.start("host", name, "sh -c 'vpcctl enable-nat vpc1; echo code $?'");
        // The host's.
        sandbox.wait_for("test $(wc -l </run/odd/saved) = 1");
        sandbox.ok(&format!("{change}; touch /run/odd/go"));
        let out = sandbox.wait_for_file(&format!("{name}.out"), |out| out.contains("code "));
        let saved = sandbox.ok("wc -l </run/odd/saved");
        sandbox.ok("rm /run/odd/nft /run/odd/iptables-save");
        (out, saved)
    };
    sandbox
        .ok("vpcctl create-vpc vpc1 10.0.0.0/16 --no-host-access && vpcctl add-subnet vpc1 web 10.0.1.0/24 --public");
    // One that has no lock: it would wait.
    let another = "rm /run/vpcctl-*.lock; vpcctl --state-dir $T/other create-vpc vpc2 10.2.0.0/16";
    let (out, _) = meanwhile(&mut sandbox, "one", another);
    assert!(out.contains("of another vpcctl stands on it") && out.contains("code 4"), "{out}");
    assert_eq!(sandbox.ok("iptables -S FORWARD | grep -c VPCCTL-FORWARD"), "1\n");
    sandbox.ok("vpcctl --state-dir $T/other delete-vpc vpc2 && vpcctl check");

    sandbox.ok("vpcctl enable-nat vpc1");
    let flush = "iptables -F VPCCTL-FORWARD; ip netns exec vpc1 iptables -F VPCCTL-FORWARD";
    let (out, saved) = meanwhile(&mut sandbox, "two", flush);
    assert!(out.contains("2 objects mended") && out.contains("code 0"), "{out}");
    assert_eq!(saved, "4\n", "the host's again, the router's and the instance's");
    let (out, saved) = meanwhile(&mut sandbox, "three", "true");
    assert!(out.contains("nothing changed") && saved == "3\n", "the host's once: {saved}{out}");
    sandbox.ok("vpcctl check");
}
