//! How commands run: dry run, repetition, healing, conflicts, bad input.

mod support;

use support::Sandbox;

/// A whole session, command by command.
const SESSION: [&str; 17] = [
    "create-vpc vpc1 10.0.0.0/16",
    "add-subnet vpc1 public 10.0.1.0/24 --type public",
    "add-subnet vpc1 private 10.0.2.0/24",
    "add-instance vpc1/public/web2",
    "enable-nat vpc1",
    "create-vpc production-network-of-the-first-department 10.1.0.0/16 --no-host-access",
    "add-subnet production-network-of-the-first-department up 10.1.1.0/24 --public",
    "peer vpc1 production-network-of-the-first-department",
    "allow-cidr --src 10.0.1.0/24 --dst 10.1.1.0/24",
    "apply-policy vpc1/public $T/one.json",
    "apply-policy vpc1/public $T/two.json",
    "remove-policy vpc1/public",
    "enable-nat production-network-of-the-first-department --subnet up",
    "delete-instance vpc1/public/web2",
    "unpeer vpc1 production-network-of-the-first-department",
    "disable-nat vpc1",
    "delete-vpc vpc1",
];

const ONE: &str = r#"{"ingress": [{"port": 80, "protocol": "tcp", "action": "allow", "description": "it's \"web\""}]}"#;
const TWO: &str =
    r#"{"ingress": [{"port": "8000-9000", "protocol": "any", "action": "reject"}], "default": {"egress": "deny"}}"#;

fn with_policies() -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.file("one.json", ONE);
    sandbox.file("two.json", TWO);
    sandbox
}

#[test]
fn a_dry_run_piped_into_a_shell_builds_the_same_kernel() {
    let (mut real, mut dry) = (with_policies(), with_policies());
    let state = real.dir().join("state");
    std::fs::create_dir(&state).expect("a directory");
    let dir = state.display();
    for sandbox in [&mut real, &mut dry] {
        // Else its address would be random in each of the two, and so its IPv6 address.
        sandbox.ok("echo 1 >/proc/sys/net/ipv6/conf/eth0/disable_ipv6; ip link set dev eth0 address 02:00:00:00:00:10");
    }
    for command in SESSION {
        // The dry run first: it sees the state before the command.
        let script = dry.ok(&format!("vpcctl --state-dir {dir} --dry-run {command}"));
        let output = dry.run(&format!("sh -e {}", dry.file("script.sh", &script)));
        if output.code != 0 {
            dry.fail(&format!("the script of `{command}`:\n{script}"), &output);
        }
        real.ok(&format!("vpcctl --state-dir {dir} {command}"));
        let (built, scripted) = (without_files(&mut real), without_files(&mut dry));
        let difference = built.difference(&scripted);
        assert!(
            difference.is_empty(),
            "`{command}`: the script makes another kernel\n{}\n{script}",
            difference.join("\n")
        );
    }
}

/// The kernel's objects alone.
fn without_files(sandbox: &mut Sandbox) -> support::dump::Dump {
    sandbox.dump().without(&["host/files", "host/processes"])
}

#[test]
fn a_dry_run_changes_nothing_and_needs_no_state_directory() {
    let mut sandbox = Sandbox::new();
    let before = sandbox.dump();
    let script = sandbox.ok("vpcctl --dry-run create-vpc vpc1 10.0.0.0/16");
    assert!(script.starts_with("#!/bin/sh -e\n") && script.contains("ip netns add vpc1\n"), "{script}");
    sandbox.ok("test ! -e /var/lib/vpcctl/state.json && test ! -e /var/lib/vpcctl/lock");
    before.assert_same(&sandbox.dump(), "dry run");
}

#[test]
fn verbose_prints_each_command_and_quiet_nothing() {
    let mut sandbox = Sandbox::new();
    let output = sandbox.says("vpcctl -v create-vpc vpc1 10.0.0.0/16", &["+ ip netns add vpc1", "created VPC vpc1"]);
    assert!(output.stdout.is_empty(), "{}", output.report());
    let output = sandbox.expect(0, "vpcctl -q add-subnet vpc1 public 10.0.1.0/24");
    assert!(output.stdout.is_empty() && output.stderr.is_empty(), "{}", output.report());
}

#[test]
fn every_command_twice_changes_nothing_the_second_time() {
    let mut sandbox = with_policies();
    for command in SESSION {
        let deletes = command.starts_with("delete") || command.starts_with("unpeer");
        sandbox.ok(&format!("vpcctl {command}"));
        let (state, kernel) = (sandbox.state(), sandbox.dump());
        let lines = sandbox.ok("wc -l </var/lib/vpcctl/vpcctl.log");
        if deletes {
            sandbox.fails(3, &format!("vpcctl {command}"), &["error: "]);
        } else {
            sandbox.says(&format!("vpcctl {command}"), &["nothing changed"]);
        }
        assert_eq!(sandbox.state(), state, "`{command}` twice");
        kernel.assert_same(&sandbox.dump(), command);
        let new =
            sandbox.ok(&format!("tail -n +{} /var/lib/vpcctl/vpcctl.log", lines.trim().parse::<usize>().unwrap() + 1));
        let mutating = ["restore -w", "ipset restore", "bridge -batch", "ip -batch", "nft -f"];
        assert!(!mutating.iter().any(|words| new.contains(words)), "`{command}` twice starts\n{new}");
    }
}

#[test]
fn what_was_removed_behind_its_back_is_healed_by_the_same_command() {
    let mut sandbox = with_policies();
    sandbox.add_vpc1();
    sandbox.add_vpc("vpc2", "10.1");
    sandbox.ok("vpcctl peer vpc1 vpc2 && vpcctl apply-policy vpc1/public $T/one.json");
    let whole = sandbox.dump();
    let create = "vpcctl create-vpc vpc1 10.0.0.0/16";
    for (damage, cure) in [
        ("ip netns del vpc1-public", "vpcctl add-subnet vpc1 public 10.0.1.0/24 --type public"),
        ("ip -n vpc1 link del public", create),
        ("ip link del vpc-vpc1", create),
        ("ip netns exec vpc1-public iptables -F", create),
        (
            "ip netns exec vpc1-public iptables -P INPUT DROP; ip netns exec vpc1-public iptables -F VPCCTL-INPUT",
            "vpcctl apply-policy vpc1/public $T/one.json",
        ),
        ("ip -n vpc1-public route del default", create),
        ("ip -n vpc1-private addr flush dev eth0", create),
        ("ip -n vpc1-private link set dev eth0 down", create),
        (
            "bridge -n vpc1 fdb del $(ip netns exec vpc1-public cat /sys/class/net/eth0/address) dev public master static",
            create,
        ),
        ("bridge -n vpc1 link set dev public isolated off", create),
        ("ip -n vpc1 neigh del 10.0.1.2 dev br-vpc1", create),
        ("ip netns exec vpc1 ipset flush", create),
        ("ip netns exec vpc1 iptables -P FORWARD ACCEPT; ip netns exec vpc1 iptables -t raw -F", create),
        ("ip netns exec vpc1 sh -c 'echo 0 >/proc/sys/net/ipv4/ip_forward'", create),
        ("ip -n vpc1 link set dev br-vpc1 down", create),
        ("ip -n vpc1 link del br-vpc1", create),
        ("ip -n vpc1 link del peer-vpc2", "vpcctl peer vpc1 vpc2"),
        ("iptables -D INPUT -j VPCCTL-INPUT; iptables -F VPCCTL-FORWARD", create),
        ("echo 0 >/proc/sys/net/ipv4/conf/eth0/forwarding", "vpcctl enable-nat vpc1"),
        ("ip netns del vpc1", create),
        ("ip netns del vpc1; ip netns del vpc1-public; ip netns del vpc1-private", create),
        ("umount /run/netns/vpc1-public", create),
    ] {
        sandbox.ok(&format!("{damage}; true"));
        let broken = sandbox.run(cure);
        if broken.code != 0 {
            sandbox.fail(&format!("after `{damage}`"), &broken);
        }
        let healed = sandbox.dump();
        // Rules that others add to our namespaces are not ours to remove, and so not to be compared here.
        let difference: Vec<String> = whole
            .difference(&healed)
            .into_iter()
            .filter(|line| !line.contains(":INPUT DROP") && !line.contains("type filter hook input"))
            .collect();
        assert!(
            difference.is_empty(),
            "`{damage}` is not healed by `{cure}`, which said: {}\n{}",
            broken.stderr,
            difference.join("\n")
        );
        sandbox.open("vpc1-public", &["ping:10.0.2.2", "ping:203.0.113.5", "ping:10.1.1.2"]);
    }
}

#[test]
fn what_has_our_name_and_is_not_ours_is_refused_and_left_alone() {
    for (foreign, command) in [
        ("ip netns add vpc1", "create-vpc vpc1 10.0.0.0/16"),
        ("ip link add name vpc-vpc1 type bridge", "create-vpc vpc1 10.0.0.0/16"),
        ("iptables -N VPCCTL-INPUT && iptables -A VPCCTL-INPUT -s 192.0.2.1 -j DROP", "create-vpc vpc1 10.0.0.0/16"),
        (
            "iptables -t nat -N VPCCTL-POSTROUTING && iptables -t nat -A VPCCTL-POSTROUTING -s 192.0.2.1 -j RETURN",
            "enable-nat own",
        ),
        ("ip netns add own-b", "add-subnet own b 10.9.2.0/24"),
        ("ip netns add own-a-web", "add-instance own/a/web"),
    ] {
        let mut sandbox = Sandbox::new();
        if command.contains("own") {
            sandbox.ok("vpcctl create-vpc own 10.9.0.0/16 && vpcctl add-subnet own a 10.9.1.0/24 --public");
        }
        sandbox.ok(foreign);
        let (state, kernel) = (sandbox.state(), sandbox.dump());
        sandbox.fails(4, &format!("vpcctl {command}"), &["error: ", "vpcctl did not make it"]);
        assert_eq!(sandbox.state(), state, "{foreign}");
        kernel.assert_same(&sandbox.dump(), foreign);
    }
}

#[test]
fn names_and_addresses_that_are_taken_are_conflicts() {
    let mut sandbox = Sandbox::with_vpc1();
    let (state, kernel) = (sandbox.state(), sandbox.dump());
    for (line, words) in [
        ("create-vpc vpc1 10.5.0.0/16", "10.0.0.0/16"),
        ("add-subnet vpc1 public 10.0.3.0/24 --type public", "10.0.1.0/24"),
        ("add-subnet vpc1 other 10.0.1.128/25", "overlaps"),
        ("add-instance vpc1/public/web2 --address 10.0.1.2", "10.0.1.2"),
    ] {
        sandbox.fails(4, &format!("vpcctl {line}"), &["error: ", words]);
    }
    for line in [
        "add-subnet vpc9 a 10.0.3.0/24",
        "delete-subnet vpc1/gone",
        "peer vpc1 gone",
        "inspect gone",
        "enable-nat gone",
    ] {
        sandbox.fails(3, &format!("vpcctl {line}"), &["error: ", " hint: "]);
    }
    assert_eq!(sandbox.state(), state);
    kernel.assert_same(&sandbox.dump(), "after conflicts");
}

#[test]
fn bad_input_is_refused_before_anything_is_started() {
    let mut sandbox = Sandbox::with_vpc1();
    let state = sandbox.state();
    let names = [
        "''",
        ".",
        "..",
        "../x",
        "a/b",
        "'a b'",
        "-a",
        "1a",
        "_a",
        "ü",
        "'$(id)'",
        "'a;b'",
        "'a%d'",
        "a+",
        "'*'",
        "all",
        "default",
        "lo",
        &"a".repeat(64),
    ];
    let cidrs = [
        "10.0.0.5/16",
        "10.0.0.0/0",
        "10.0.0.0/31",
        "10.0.0.0/33",
        "10.0.0.0/-1",
        "10.0.0.0/024",
        "10.0.0.0/+24",
        "10.0.0.0",
        "010.0.0.0/8",
        "10.1/16",
        "0x0a.0.0.0/8",
        "10.0.0.0/255.255.0.0",
        "0.0.0.0/8",
        "127.0.0.0/8",
        "169.254.0.0/16",
        "224.0.0.0/8",
        "240.0.0.0/8",
        "fd00::/64",
        "::ffff:10.0.0.0/104",
        "''",
        "' 10.3.0.0/16'",
        "localhost/16",
    ];
    let names = names.iter().map(|name| format!("create-vpc --name={name} --cidr=10.3.0.0/16"));
    let cidrs = cidrs.iter().map(|cidr| format!("create-vpc --name=vpc3 --cidr={cidr}"));
    let addresses = ["999.0.0.1", "10.0.1", "010.0.1.9", "fe80::1", "0x0a000109", "''", "10.0.1.9/24"];
    let ports = ["0", "65536", "-1", "80.0", "080", "+80", "100:50", "80,443", "ssh", "''"];
    let addresses = addresses.iter().map(|address| format!("add-instance vpc1/public/a --address={address}"));
    let ports = ports.iter().map(|port| format!("deploy-app vpc1/public --port={port}"));
    let others = [
        "create-vpc vpc3",
        "create-vpc",
        "add-subnet vpc1 x 10.0.3.1/24",
        "add-subnet vpc1 x 10.0.3.0/24 --type open",
        "add-subnet a/b/c 10.0.3.0/24",
        "peer vpc1",
        "enable-nat vpc1 --interface a/b",
        "enable-nat vpc1 --interface a+",
        "deploy-app vpc1/public --port 80 --user 'a b'",
        "allow-cidr --src 10.0.0.0/16 --dst x",
        "frobnicate",
        "create-vpc vpc3 10.3.0.0/16 --frob",
        "--lock-timeout x list",
        "--lock-timeout -1 create-vpc vpc3 10.3.0.0/16",
        "--output xml list",
    ];
    let policies = bad_policies(&mut sandbox);
    let policies = policies.iter().map(|file| format!("apply-policy vpc1/public {file}"));
    let lines = names.chain(cidrs).chain(addresses).chain(ports).chain(others.map(str::to_owned)).chain(policies);
    for line in lines.collect::<Vec<_>>() {
        let output =
            sandbox.expect(2, &format!("strace -f -qq -e trace=execve,flock -e signal=none -o $T/trace vpcctl {line}"));
        assert!(output.stderr.starts_with("error: "), "{}", output.report());
        let trace = sandbox.ok("cat $T/trace");
        assert_eq!((trace.matches("execve(").count(), trace.matches("flock(").count()), (1, 0), "{line}: {trace}");
    }
    // What only the state tells is refused under the lock, and starts no tool either.
    for (code, line) in [
        (2, "add-subnet vpc1 x 10.3.1.0/24"),
        (2, "add-subnet vpc1 x 10.0.3.0/31"),
        (2, "add-instance vpc1/public/a --address 10.0.1.0"),
        (2, "add-instance vpc1/public/a --address 10.0.9.9"),
        (2, "peer vpc1 vpc1"),
        (3, "delete-vpc absent"),
        (0, "delete-vpc absent --if-exists"),
        (4, "create-vpc vpc1 10.9.0.0/16"),
    ] {
        let command = format!("strace -f -qq -e trace=execve -e signal=none -o $T/trace vpcctl {line}");
        let output = sandbox.expect(code, &command);
        assert!(
            code == 0 || output.stderr.lines().next().is_some_and(|first| first.starts_with("error: ")),
            "{}",
            output.report()
        );
        let trace = sandbox.ok("cat $T/trace");
        assert!(code == 4 || trace.matches("execve(").count() == 1, "{line}: {trace}");
    }
    assert_eq!(sandbox.state(), state);
}

/// Policy files that are refused, from what is no file to what is too much of one.
fn bad_policies(sandbox: &mut Sandbox) -> Vec<String> {
    let rules = |fields: &str| format!("{{\"ingress\": [{{{fields}}}]}}");
    let allow = |fields: &str| rules(&format!("{fields}, \"action\": \"allow\""));
    let ports = [
        "0",
        "65536",
        "-1",
        "80.0",
        "\"80\"",
        "\"080\"",
        "\"100:50\"",
        "\"100-50\"",
        "\"80,443\"",
        "\"ssh\"",
        "[]",
        "null",
        "1e3",
    ];
    let long = "x".repeat(300);
    let texts = ports.iter().map(|port| allow(&format!("\"port\": {port}"))).chain([
        allow("\"port\": 80, \"protocol\": \"icmp\""),
        allow("\"protocol\": \"6\""),
        allow("\"protocol\": \"icmpv6\""),
        allow("\"port\": 80, \"port\": 81"),
        allow("\"source\": \"10.0.0.5/16\""),
        allow("\"source\": \"localhost\""),
        allow("\"destination\": \"10.0.0.0/16\""),
        allow(&format!("\"description\": \"{long}\"")),
        allow("\"prot\": \"tcp\""),
        rules("\"port\": 80"),
        rules("\"port\": 80, \"action\": \"maybe\""),
        "{\"ingress\": [], \"ingress\": []}".into(),
        "{\"subnet\": \"../x\"}".into(),
        "[".repeat(200_000),
        "{\"a\":".repeat(200_000),
        format!("{{\"ingress\": [{}]}}", vec!["{\"port\": 1, \"action\": \"deny\"}"; 300_000].join(",")),
        String::new(),
        "null".into(),
        "[]".into(),
        "{} {}".into(),
        "\u{0}".into(),
    ]);
    let texts: Vec<String> = texts.collect();
    let mut files: Vec<String> =
        texts.iter().enumerate().map(|(n, text)| sandbox.file(&format!("bad{n}.json"), text)).collect();
    sandbox.ok("mkfifo $T/fifo; mkdir $T/directory; ln -s loop $T/loop; truncate -s 100M $T/huge; printf '\\377\\376' >$T/latin");
    let odd = ["fifo", "directory", "loop", "huge", "latin", "missing"].map(|name| format!("$T/{name}"));
    files.extend(odd.into_iter().chain(["/dev/zero".into(), "/dev/stdin".into(), "''".into()]));
    files
}

/// The tools that the command last logged has started, by their names.
fn tools_of_last(sandbox: &mut Sandbox, before: &str) -> Vec<String> {
    let log = sandbox.ok(&format!("tail -n +$(({} + 1)) /var/lib/vpcctl/vpcctl.log", before.trim()));
    let tool = |line: &str| {
        let words: Vec<&str> = line.split(' ').skip(1).collect();
        let words = if words.starts_with(&["ip", "netns", "exec"]) { &words[4..] } else { &words[..] };
        words.first().map(|word| (*word).to_owned())
    };
    let mut tools: Vec<String> = log.lines().filter_map(tool).filter(|tool| tool != "vpcctl").collect();
    tools.sort();
    tools
}

/// NAT's rules go between those that stand. Where one of those isn't as it should be, the chain is made anew.
#[test]
fn rules_join_a_chain_that_stands_and_one_that_was_changed_is_made_anew() {
    let mut sandbox = Sandbox::new();
    // A host with tables of its own.
    sandbox.ok("iptables -A INPUT -i nosuch -j ACCEPT; iptables -t nat -A POSTROUTING -o nosuch -j ACCEPT");
    let run = |sandbox: &mut Sandbox, command: &str| {
        let before = sandbox.ok("cat /var/lib/vpcctl/vpcctl.log 2>/dev/null | wc -l");
        sandbox.ok(&format!("vpcctl {command}"));
        tools_of_last(sandbox, &before)
    };
    let made = ["ip", "ip", "ip", "ipset", "iptables-restore", "iptables-restore", "iptables-save", "tc"];
    assert_eq!(run(&mut sandbox, "create-vpc vpc1 10.0.0.0/16"), made);
    let added = ["bridge", "ip", "ip", "ip", "ipset", "iptables-restore"];
    assert_eq!(run(&mut sandbox, "add-subnet vpc1 public 10.0.1.0/24 --public"), added);
    let natted = ["ip", "iptables-restore", "iptables-restore", "iptables-save", "iptables-save"];
    assert_eq!(run(&mut sandbox, "enable-nat vpc1"), natted);
    let joined = sandbox.ok("ip netns exec vpc1 iptables-save | sed 's/\\[.*//; /^#/d'");
    sandbox.ok("vpcctl check && vpcctl disable-nat vpc1 && vpcctl check");

    // Somebody puts a rule before ours: what is inserted by its number would stand in the wrong place.
    sandbox.ok("ip netns exec vpc1 iptables -I VPCCTL-FORWARD 1 -j ACCEPT && vpcctl enable-nat vpc1 && vpcctl check");
    assert_eq!(sandbox.ok("ip netns exec vpc1 iptables-save | sed 's/\\[.*//; /^#/d'"), joined);
}

/// The kernel looks for a path below `/proc/sys/net` in one list for all namespaces.
#[test]
fn beside_many_namespaces_settings_are_read_and_written_by_a_procfs_of_ones_own() {
    let mut sandbox = Sandbox::new();
    let trace = "strace -f -qq -e trace=fsmount,openat -e signal=none -o $T/trace vpcctl";
    sandbox.ok(&format!("{trace} create-vpc few 10.0.0.0/16"));
    sandbox.ok("! grep -q fsmount $T/trace");
    sandbox.ok("for i in $(seq 70); do echo netns add other$i; done | ip -batch -");
    sandbox.ok(&format!("{trace} create-vpc many 10.1.0.0/16"));
    sandbox.ok(r#"grep -q fsmount $T/trace && ! grep -qE "\"/proc/sys/net/[a-z0-9]+\", .*O_PATH" $T/trace"#);
    sandbox.ok("vpcctl add-subnet many/web 10.1.1.0/24");
    assert_eq!(sandbox.ok("ip netns exec many cat /proc/sys/net/ipv4/ip_forward").trim(), "1");
    assert_eq!(sandbox.ok("ip netns exec many-web cat /proc/sys/net/ipv6/conf/all/disable_ipv6").trim(), "1");
    assert_eq!(sandbox.ok("cat /proc/sys/net/ipv6/conf/all/disable_ipv6").trim(), "0");
    sandbox.ok("vpcctl check");
    // Where it can't be had, or is refused, the host's will do.
    let refused = |fault: &str| format!("strace -f -qq -e signal=none -o $T/refused {fault} vpcctl check");
    sandbox.ok(&refused("-e trace=fsmount -e inject=fsmount:error=EPERM"));
    sandbox.ok("grep -q INJECTED $T/refused");
    sandbox.ok(&refused("-P sys/net/ipv4 -e trace=openat -e inject=openat:error=EACCES"));
    sandbox.ok("grep -q INJECTED $T/refused");
    sandbox.ok("ip netns exec many sh -c 'echo 0 >/proc/sys/net/ipv4/ip_forward'");
    let found = sandbox.expect(9, "vpcctl check");
    assert!(found.stdout.contains("ip_forward"), "{}", found.report());
    // Whoever keeps vpcctl from writing there keeps it from that here as well.
    for guard in ["mount --bind /proc/sys/net /proc/sys/net && mount -o remount,ro,bind", "mount -t tmpfs none"] {
        sandbox.ok(&format!("{guard} /proc/sys/net"));
        sandbox.expect(1, "vpcctl repair");
        sandbox.ok("umount /proc/sys/net && ! ip netns exec many grep -q 1 /proc/sys/net/ipv4/ip_forward");
    }
    sandbox.ok("vpcctl repair && vpcctl check");
}
