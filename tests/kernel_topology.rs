//! A network in one file, on a real kernel.

mod support;

use std::collections::BTreeSet;

use support::Sandbox;
use support::dump::Dump;

/// The files of the tests: a network with something of everything, and a smaller one.
fn files(sandbox: &mut Sandbox) {
    sandbox.file("web.json", r#"{"ingress": [{"port": 80, "action": "allow"}]}"#);
    let net = "version: 1
vpcs:
  - name: vpc1
    cidr: 10.0.0.0/16
    nat: true
    subnets:
      - {name: web, cidr: 10.0.1.0/24, type: public, policy: web.json, instances: [{name: two}]}
      - {name: db, cidr: 10.0.2.0/24}
  - {name: vpc2, cidr: 10.1.0.0/16, host-access: false, subnets: [{name: app, cidr: 10.1.1.0/24}]}
peerings:
  - {vpcs: [vpc1, vpc2], allow: [{src: 10.0.1.0/24, dst: 10.1.1.0/24}]}
";
    sandbox.file("net.yaml", net);
    let other = "version: 1
vpcs:
  - name: vpc1
    cidr: 10.0.0.0/16
    mtu: 1400
    nat: {subnets: [web]}
    subnets:
      - {name: web, cidr: 10.0.1.0/24, type: public}
      - {name: db, cidr: 10.0.9.0/24, type: public}
  - {name: vpc3, cidr: 10.1.0.0/16, subnets: [{name: app, cidr: 10.1.2.0/24}]}
peerings: [{a: vpc1, b: vpc3}]
";
    sandbox.file("other.yaml", other);
}

fn kernel(sandbox: &mut Sandbox) -> Dump {
    sandbox.dump().without(&["host/processes", "host/files", "host/mounts"])
}

#[test]
fn what_was_exported_and_destroyed_is_applied_again() {
    let mut sandbox = Sandbox::new();
    files(&mut sandbox);
    sandbox.settle();
    let empty = kernel(&mut sandbox);
    sandbox.says("vpcctl apply -f $T/net.yaml", &["+ created  VPC vpc1", "9 created"]);
    sandbox.ok("vpcctl peer vpc1 vpc2; vpcctl add-instance vpc1/db/more --address 10.0.2.77");
    let before = kernel(&mut sandbox);
    let shown = sandbox.ok("vpcctl inspect -o json");
    sandbox.ok("vpcctl export -o json >$T/export.json; vpcctl export >$T/export.yaml");
    sandbox.says("vpcctl destroy -f $T/export.yaml", &["- deleted  VPC vpc1"]);
    empty.assert_same(&kernel(&mut sandbox), "destroyed");
    sandbox.says("vpcctl destroy -f $T/export.yaml", &["not there: VPC vpc1, vpc2", "nothing changed"]);
    sandbox.ok("vpcctl apply -f - <$T/export.json");
    before.assert_same(&kernel(&mut sandbox), "applied again");
    // All but the name of the file that a policy came from at first.
    let unnamed = |text: &str| text.lines().filter(|line| !line.contains(r#""file": "web.json""#)).collect::<String>();
    assert_eq!(unnamed(&sandbox.ok("vpcctl inspect -o json")), unnamed(&shown));
    sandbox.says("vpcctl plan $T/export.yaml --prune", &["nothing to do"]);
}

#[test]
fn a_file_changes_what_there_is_and_a_second_time_nothing() {
    let mut sandbox = Sandbox::new();
    files(&mut sandbox);
    sandbox.ok("vpcctl apply -f $T/other.yaml");
    let wanted = kernel(&mut sandbox);
    sandbox.ok(
        "vpcctl destroy -f $T/other.yaml && vpcctl apply -f $T/net.yaml && cat /var/lib/vpcctl/state.json >$T/state",
    );
    let planned = sandbox.expect(2, "vpcctl plan -f $T/other.yaml --prune");
    assert!(planned.stdout.contains("-/+ replace  subnet vpc1/db"), "{}", planned.report());
    sandbox.ok("cmp /var/lib/vpcctl/state.json $T/state");
    sandbox.says("vpcctl apply -f $T/other.yaml --prune", &["-/+ replaced subnet vpc1/db", "~ changed  VPC vpc1"]);
    sandbox.ok("vpcctl check");
    // The addresses of links are others: they are never taken from one and given to another at once.
    sandbox.ok("vpcctl destroy -f $T/other.yaml && vpcctl apply -f $T/other.yaml");
    wanted.assert_same(&kernel(&mut sandbox), "the other file");
    sandbox.install_shims();
    sandbox.fault(support::shim::Fault::None);
    sandbox.says("vpcctl apply -f $T/other.yaml --prune", &["nothing changed"]);
    sandbox.says("vpcctl plan -f $T/other.yaml --prune", &["nothing to do"]);
    let calls = sandbox.calls();
    let reads = |call: &String| ["-j", "-save", " save", " list", " show"].iter().any(|word| call.contains(word));
    assert!(!calls.is_empty() && calls.iter().all(reads), "{calls:?}");
    sandbox.ok("ip netns del vpc3-app");
    let planned = sandbox.expect(2, "vpcctl plan -f $T/other.yaml");
    assert!(planned.stdout.contains("~ mend     subnet vpc3/app"), "{}", planned.report());
    sandbox.says("vpcctl apply -f $T/other.yaml", &["objects mended"]);
    wanted.assert_same(&kernel(&mut sandbox), "mended");
}

/// `a/b-c` and `a-b/c` have namespaces of the same name.
#[test]
fn a_vpc_does_not_take_the_name_of_a_namespace_that_goes() {
    let mut sandbox = Sandbox::new();
    sandbox.ok("vpcctl create-vpc a 10.0.0.0/16 && vpcctl add-subnet a b-c 10.0.1.0/24");
    let before = sandbox.dump();
    sandbox.file(
        "net.yaml",
        "version: 1\nvpcs:\n- {name: a-b, cidr: 10.1.0.0/16, subnets: [{name: c, cidr: 10.1.1.0/24}]}\n",
    );
    let apply = "vpcctl apply -f $T/net.yaml --prune";
    sandbox.fails(
        4,
        apply,
        &["cannot make subnet `a-b/c`", "namespace `a-b-c` is that of subnet `a/b-c`", "take that away first"],
    );
    before.assert_same(&sandbox.dump(), "refused");
    sandbox.ok(&format!("vpcctl delete-subnet a/b-c && {apply} && vpcctl check"));
}

#[test]
fn what_cannot_be_is_refused_before_any_process_starts() {
    let mut sandbox = Sandbox::new();
    files(&mut sandbox);
    let state = sandbox.state();
    for (code, field, bad) in [
        (2, "cidr", "s/10.0.2.0/10.9.2.0/"),
        (4, "cidr", "s/10.0.2.0.24/10.0.0.0\\/23/"),
        (2, "policy", "s/web.json/absent.json/"),
        (3, "peerings[0]", "s/.vpc1, vpc2./[vpc1, vpc7]/"),
        (2, "apps", "s/name: two/name: two, apps: [{user: nosuchuser}]/"),
        (2, "version", "s/version: 1/version: 9/"),
    ] {
        sandbox.ok(&format!("sed '{bad}' $T/net.yaml >$T/bad.yaml"));
        for (command, code) in [("apply", code), ("plan", if code == 2 { 1 } else { code })] {
            let line =
                format!("strace -f -qq -e trace=execve -e signal=none -o $T/trace vpcctl {command} -f $T/bad.yaml");
            sandbox.fails(code, &line, &["bad.yaml:", field]);
            assert_eq!(sandbox.ok("grep -c execve $T/trace").trim(), "1", "{bad}");
        }
    }
    sandbox.fails(1, "vpcctl plan --frob", &["--frob"]);
    sandbox.fails(1, "vpcctl -o json plan", &["\"code\":1"]);
    assert_eq!(sandbox.state(), state);
}

/// A terminal: it prints as Python's what a command sends to it.
const TERMINAL: &str = "import os, pty, sys
pid, fd = pty.fork()
if pid == 0:
    os.execvp(sys.argv[1], sys.argv[1:])
out = b''
while True:
    try:
        part = os.read(fd, 65536)
    except OSError:
        break
    if not part:
        break
    out += part
os.waitpid(pid, 0)
print(repr(out))
";

/// An `ip` whose first change takes a while.
const SLOW: &str = r#"#!/bin/sh
[ "$*" = "-batch -" ] && mkdir /run/slow 2>/dev/null && sleep 1.2
exec /run/real/ip "$@"
"#;

#[test]
fn long_work_has_one_bar_on_a_terminal_and_lines_elsewhere() {
    let mut sandbox = Sandbox::new();
    files(&mut sandbox);
    sandbox.install_shims();
    sandbox.file("terminal.py", TERMINAL);
    sandbox.file("slow", SLOW);
    sandbox.ok("cp $T/slow /run/shim/sbin/ip");
    let shown = sandbox.ok("/usr/bin/python3 -SE $T/terminal.py vpcctl apply -f $T/net.yaml");
    let totals: BTreeSet<&str> =
        shown.split(" steps").filter_map(|text| text.rsplit_once('/')).map(|(_, n)| n).collect();
    let totals: Vec<&&str> = totals.iter().filter(|total| total.bytes().all(|byte| byte.is_ascii_digit())).collect();
    assert_eq!(totals.len(), 1, "one bar over all parts: {shown}");
    let (_, after) = shown.rsplit_once(" steps").unwrap_or_default();
    assert!(after.contains("\\x1b[2K") && after.contains("9 created"), "nothing of the bar is left: {shown}");
    let again = "vpcctl -q destroy -f $T/net.yaml && rmdir /run/slow && vpcctl apply -f $T/net.yaml 2>&1";
    let lines = sandbox.ok(again);
    assert!(lines.starts_with("\u{2026} ") && lines.contains(" steps\n") && !lines.contains('\u{1b}'), "{lines}");
    assert_eq!(sandbox.ok("vpcctl -q apply -f $T/other.yaml --prune 2>&1"), "");
}

#[test]
fn a_change_mends_what_it_has_no_part_in() {
    let mut sandbox = Sandbox::new();
    files(&mut sandbox);
    sandbox.ok("vpcctl apply -f $T/net.yaml && ip netns del vpc2-app");
    sandbox.ok("sed 's/cidr: 10.0.0.0.16/&\\n    mtu: 1400/' $T/net.yaml >$T/mtu.yaml");
    let planned = sandbox.expect(2, "vpcctl plan -f $T/mtu.yaml");
    let expected = ["~ change   VPC vpc1", "~ mend     subnet vpc2/app"];
    assert!(expected.iter().all(|line| planned.stdout.contains(line)), "{}", planned.report());
    sandbox.says("vpcctl apply -f $T/mtu.yaml", &["1 changed, and ", " mended"]);
    sandbox.ok("vpcctl check");
    sandbox.says("vpcctl apply -f $T/mtu.yaml", &["nothing changed"]);
}

#[test]
fn a_file_that_fits_once_the_last_command_is_finished_is_applied() {
    let mut sandbox = Sandbox::new();
    files(&mut sandbox);
    sandbox.ok("vpcctl apply -f $T/net.yaml");
    sandbox.file(
        "new.yaml",
        "version: 1\nvpcs: [{name: vpc1, cidr: 10.0.0.0/16, subnets: [{name: new, cidr: 10.0.2.0/24}]}]",
    );
    sandbox.fails(4, "vpcctl apply -f $T/new.yaml", &["overlaps"]);
    sandbox.install_shims();
    let cut_off = (1..20).any(|call| {
        sandbox.fault(support::shim::Fault::KillBefore(call));
        sandbox.ok("vpcctl delete-subnet vpc1/db || true");
        sandbox.fault(support::shim::Fault::None);
        sandbox.ok("ls /var/lib/vpcctl").contains("intent.json")
    });
    assert!(cut_off);
    sandbox.says("vpcctl apply -f $T/new.yaml", &["+ created  subnet vpc1/new"]);
}

#[test]
fn a_signal_ends_what_waits_for_a_file() {
    let mut sandbox = Sandbox::new();
    files(&mut sandbox);
    sandbox.ok("mkfifo $T/fifo && sed 's/web.json/fifo/' $T/net.yaml >$T/waits.yaml");
    sandbox.fails(1, "vpcctl plan -f $T/waits.yaml", &["fifo` is not a file"]);
    for command in ["apply -f $T/fifo", "plan -f - <>$T/fifo"] {
        let ended = sandbox.expect(0, &format!("timeout -k 20 -s INT 0.5 vpcctl {command}; echo $?"));
        assert!(!ended.stdout.contains("137") && ended.stderr.contains("interrupted"), "{}", ended.report());
    }
    sandbox.ok("cat $T/net.yaml >$T/fifo & vpcctl apply -f $T/fifo");
}
