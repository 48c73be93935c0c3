//! Many vpcctl at once, and the lock: nothing is lost or doubled, readers wait for nobody, and who has the lock is named.

mod support;

use support::Sandbox;

/// A tool that hangs while there is a file `/run/hang/TOOL`, and, where that names a namespace, in that one alone, until somebody writes into its FIFO; then it works.
const HANGING: &str = r#"#!/bin/sh
tool=${0##*/}
hangs() {
    test -e /run/hang/$tool && { ! test -s /run/hang/$tool || test "$(cat /run/hang/$tool)" = "$(readlink /proc/$$/ns/net)"; }
}
hangs && echo $$ >>/run/hang/begun && cat /run/hang/fifo >/dev/null
exec /run/real/$tool "$@"
"#;

/// Puts [`HANGING`] in place of the tools.
fn with_tools_that_can_hang() -> Sandbox {
    let mut sandbox = Sandbox::new();
    let script = sandbox.file("hanging.sh", HANGING);
    sandbox.ok(&format!(
        "mkdir -p /run/real /run/hang/sbin && mount --bind /usr/sbin /run/real && mkfifo /run/hang/fifo
         cd /run/hang/sbin && for f in /run/real/*; do ln -s $f .; done
         for tool in ip ipset iptables-restore iptables-save; do rm -f $tool && cp {script} $tool && chmod 755 $tool; done
         mount --bind /run/hang/sbin /usr/sbin"
    ));
    sandbox
}

/// Starts a command whose `tool` hangs; the numbers of vpcctl and of the tool.
fn start_hanging(sandbox: &mut Sandbox, tool: &str, command: &str) -> (u32, u32) {
    start_hanging_in(sandbox, "host", tool, command)
}

/// The same, where the tool hangs in this namespace alone; in any for the host.
fn start_hanging_in(sandbox: &mut Sandbox, netns: &str, tool: &str, command: &str) -> (u32, u32) {
    let inode =
        if netns == "host" { "true".into() } else { format!("ip netns exec {netns} readlink /proc/self/ns/net") };
    sandbox
        .ok(&format!("rm -f /run/hang/begun; {inode} >/run/hang/{tool}.new; mv /run/hang/{tool}.new /run/hang/{tool}"));
    let vpcctl = sandbox.start("host", "hanging", &format!("vpcctl {command}"));
    let begun = sandbox.wait_for("cat /run/hang/begun");
    sandbox.ok(&format!("rm /run/hang/{tool}"));
    (vpcctl, begun.trim().parse().expect("a process number"))
}

/// Lets the tool work.
fn release(sandbox: &mut Sandbox) {
    sandbox.ok("echo go >/run/hang/fifo");
}

#[test]
fn a_waiting_command_says_for_whom_and_readers_do_not_wait() {
    let mut sandbox = with_tools_that_can_hang();
    sandbox.ok("vpcctl create-vpc vpc1 10.0.0.0/16");
    let (holder, _) = start_hanging(&mut sandbox, "ipset", "add-subnet vpc1 a 10.0.1.0/24");
    let whom = format!("`vpcctl add-subnet vpc1 a 10.0.1.0/24` (process {holder})");
    sandbox.start("host", "waiting", "vpcctl create-vpc vpc2 10.1.0.0/16");
    sandbox.wait_for_file("waiting.out", |out| out.contains(&format!("note: waiting for {whom}\n")));
    let refused =
        sandbox.fails(7, "vpcctl --lock-timeout 0 create-vpc vpc3 10.2.0.0/16", &[&format!("{whom} is at work")]);
    assert!(!refused.stderr.contains("waiting"), "{}", refused.report());
    sandbox.fails(
        7,
        "vpcctl --lock-timeout 0.3 create-vpc vpc3 10.2.0.0/16",
        &["note: waiting for", &format!("error: {whom}")],
    );
    let json = sandbox.fails(7, "vpcctl -o json --lock-timeout 0 create-vpc vpc3 10.2.0.0/16", &["\"kind\":\"busy\""]);
    assert_eq!(json.stderr.lines().count(), 1, "{}", json.report());
    for reader in ["list", "inspect vpc1", "list-apps", "--dry-run create-vpc vpc4 10.4.0.0/16", "doctor"] {
        // The tool hangs meanwhile: whoever waited for it would wait until the sandbox loses patience.
        let output = sandbox.run(&format!("vpcctl --lock-timeout 0 {reader}"));
        assert!(output.code == 0 || output.code == 9, "{}", output.report());
    }
    assert!(!sandbox.ok("vpcctl list").contains("vpc2"));
    release(&mut sandbox);
    sandbox.wait_for_file("waiting.out", |out| out.contains("created VPC vpc2"));
    let inspection = sandbox.ok("vpcctl inspect vpc1");
    assert!(inspection.contains("vpc1/a ") && !inspection.contains("wrong"), "{inspection}");
}

#[test]
fn a_signal_ends_a_command_that_waits() {
    let mut sandbox = with_tools_that_can_hang();
    start_hanging(&mut sandbox, "ip", "create-vpc vpc1 10.0.0.0/16");
    for (signal, name) in ["INT", "TERM", "HUP"].into_iter().zip(["one", "two", "three"]) {
        let line = "sh -c 'vpcctl create-vpc vpc2 10.1.0.0/16 & p=$!; echo pid $p; trap : INT TERM HUP; wait $p; echo code $?'";
        sandbox.start("host", name, line);
        let out = sandbox.wait_for_file(&format!("{name}.out"), |out| out.contains("waiting for"));
        let pid = out.lines().find_map(|line| line.strip_prefix("pid ")).expect("a number").to_owned();
        sandbox.ok(&format!("kill -{signal} {pid}"));
        sandbox.wait_for_file(&format!("{name}.out"), |out| out.contains("code 130") && out.contains("had not begun"));
    }
    release(&mut sandbox);
    sandbox.wait_for_file("hanging.out", |out| out.contains("created VPC vpc1"));
}

#[test]
fn a_tool_keeps_the_lock_after_its_vpcctl_and_is_ended_when_it_hangs() {
    let mut sandbox = with_tools_that_can_hang();
    sandbox.ok("vpcctl create-vpc vpc1 10.0.0.0/16");
    let before = sandbox.dump().without(&["host/files", "host/processes"]);
    let (vpcctl, tool) =
        start_hanging(&mut sandbox, "iptables-restore", "create-vpc vpc2 10.1.0.0/16 --no-host-access");
    sandbox.ok(&format!("kill -9 {vpcctl}"));
    let whom = format!("`iptables-restore` (process {tool}, started by a vpcctl that is gone)");
    sandbox.fails(7, "vpcctl --lock-timeout 0 delete-vpc vpc9", &[&whom, "--lock-timeout"]);
    // It is a living process that may yet change the kernel: nobody begins before it has ended.
    let output =
        sandbox.fails(3, "vpcctl delete-vpc vpc9", &[&format!("waiting for {whom}"), &format!("ended {whom}")]);
    assert!(output.stderr.contains("it is undone now"), "{}", output.report());
    sandbox.ok(&format!("! kill -0 {tool}"));
    before.assert_same(&sandbox.dump().without(&["host/files", "host/processes"]), "after the tool was ended");
    sandbox.ok("vpcctl create-vpc vpc2 10.1.0.0/16");
}

#[test]
fn a_tool_that_ends_in_time_is_not_ended() {
    let mut sandbox = with_tools_that_can_hang();
    let (vpcctl, tool) =
        start_hanging(&mut sandbox, "iptables-restore", "create-vpc vpc1 10.0.0.0/16 --no-host-access");
    sandbox.ok(&format!("kill -9 {vpcctl}"));
    sandbox.start("host", "waiting", "vpcctl create-vpc vpc2 10.1.0.0/16");
    sandbox.wait_for_file("waiting.out", |out| out.contains(&format!("(process {tool}, ")));
    release(&mut sandbox);
    let out = sandbox.wait_for_file("waiting.out", |out| out.contains("created VPC vpc2"));
    assert!(out.contains("it is undone now") && !out.contains("ended"), "{out}");
}

/// Whoever looks at an instance isn't cut off by its end; whoever only says that he does is.
#[test]
fn a_variable_spares_nobody_who_runs_in_what_goes() {
    let mut sandbox = with_tools_that_can_hang();
    sandbox.add_vpc1();
    // A chain that no other instance has: its rules are read by a tool of their own.
    sandbox.ok("vpcctl add-instance vpc1/public/web2 && ip netns exec vpc1-public-web2 iptables -N own");
    let (reader, tool) = start_hanging_in(&mut sandbox, "vpc1-public-web2", "iptables-save", "inspect vpc1");
    let sleeper = sandbox.start("host", "sleeper", "sleep 1000");
    let mut residents = Vec::new();
    for starter in [reader, sleeper] {
        let start = sandbox.ok(&format!("sed 's/.*) //' /proc/{starter}/stat | cut -d' ' -f20"));
        let name = format!("resident{starter}");
        let line = format!("env VPCCTL_TOOL='iptables-save {starter} {}' setsid sleep 2000", start.trim());
        sandbox.start("vpc1-public-web2", &name, &line);
        residents.push(sandbox.wait_for(&format!(
            "for p in $(pgrep -x sleep); do grep -qz '^VPCCTL_TOOL=iptables-save {starter} ' /proc/$p/environ && echo $p && exit; done; false"
        )));
    }
    let output = sandbox.says("vpcctl delete-instance vpc1/public/web2", &["ended what ran there"]);
    for resident in &residents {
        let words = format!("sleep ({})", resident.trim());
        assert!(output.stderr.contains(&words), "{words} was spared: {}", output.report());
        sandbox.ok(&format!("! kill -0 {}", resident.trim()));
    }
    sandbox.ok(&format!("kill -0 {tool} && kill -0 {reader} && kill {sleeper}"));
    assert!(!output.stderr.contains(&format!("({tool})")), "{}", output.report());
    release(&mut sandbox);
    sandbox.wait_for(&format!("! kill -0 {reader}"));
    assert!(!sandbox.ok("vpcctl list").contains("web2"));
}

#[test]
fn a_stranger_who_holds_the_lock_is_named_and_left_alone() {
    let mut sandbox = with_tools_that_can_hang();
    sandbox.ok("vpcctl create-vpc vpc1 10.0.0.0/16 && mkfifo $T/held");
    let holder = sandbox.start("host", "holder", "flock /var/lib/vpcctl/lock sh -c 'echo held; cat $T/held'");
    sandbox.wait_for_file("holder.out", |out| out.contains("held"));
    let whom = format!("`flock` (process {holder})");
    // Longer than a tool of ours would be spared.
    let output = sandbox.fails(
        7,
        "vpcctl --lock-timeout 6 create-vpc vpc2 10.1.0.0/16",
        &["waiting for", &whom, "none of vpcctl's"],
    );
    assert!(!output.stderr.contains("ended"), "{}", output.report());
    sandbox.ok(&format!("kill -0 {holder} && vpcctl list && vpcctl inspect vpc1"));
    // What the file says is words: neither garbage nor a dead or foreign process in it changes anything.
    for garbage in ["\\033[31mx", "{}", "{\"process\":{\"pid\":1,\"start\":0,\"boot\":\"\"},\"command\":\"x\"}", ""] {
        sandbox.ok(&format!("printf '{garbage}' >/var/lib/vpcctl/lock"));
        sandbox.fails(7, "vpcctl --lock-timeout 0 create-vpc vpc2 10.1.0.0/16", &[&whom]);
    }
    sandbox.ok("echo go >$T/held");
    sandbox.ok("vpcctl create-vpc vpc2 10.1.0.0/16");
}

/// Runs lines at once, a vpcctl each; for each line its exit code and all that it printed.
fn at_once(sandbox: &mut Sandbox, lines: &[String]) -> Vec<(i32, String)> {
    let start = |(n, line): (usize, &String)| format!("(vpcctl {line} >$T/at{n}.out 2>&1; echo $? >$T/at{n}.code) &\n");
    let script: String = lines.iter().enumerate().map(start).collect();
    sandbox.ok(&format!("rm -f $T/at*\n{script}wait"));
    let text = |name: String| std::fs::read_to_string(sandbox.dir().join(name)).expect("a file");
    let result = |n| (text(format!("at{n}.code")).trim().parse().expect("a code"), text(format!("at{n}.out")));
    (0..lines.len()).map(result).collect()
}

/// How many ended with this exit code.
fn count(results: &[(i32, String)], code: i32) -> usize {
    results.iter().filter(|(found, _)| *found == code).count()
}

/// How many printed these words.
fn saying(results: &[(i32, String)], words: &str) -> usize {
    results.iter().filter(|(_, out)| out.contains(words)).count()
}

/// State and kernel agree, nothing is half-made, and no two share what only one may have.
#[track_caller]
fn assert_whole(sandbox: &mut Sandbox, vpcs: usize) {
    let state: serde_json::Value = serde_json::from_str(&sandbox.state()).expect("a state");
    let all = state["network"]["vpcs"].as_object().expect("VPCs").values();
    let uplinks: Vec<String> = all.map(|vpc| vpc["uplink"]["link"].to_string()).filter(|link| link != "null").collect();
    let peerings = state["network"]["peerings"].as_array().expect("peerings");
    let links = uplinks.into_iter().chain(peerings.iter().map(|peering| peering["link"].to_string()));
    let links: Vec<String> = links.collect();
    let distinct: std::collections::BTreeSet<&String> = links.iter().collect();
    assert_eq!(distinct.len(), links.len(), "a link of the pool is used twice: {links:?}");
    sandbox.ok("vpcctl check");
    let inspection = sandbox.ok("vpcctl inspect && test ! -e /var/lib/vpcctl/intent.json");
    assert_eq!(inspection.matches("router       namespace").count(), vpcs, "{inspection}");
    assert!(!inspection.contains("wrong"), "{inspection}");
}

#[test]
fn many_at_once_lose_nothing() {
    let mut sandbox = Sandbox::new();
    let lines: Vec<String> = (0..32).map(|n| format!("create-vpc v{n} 10.{n}.0.0/16")).collect();
    let results = at_once(&mut sandbox, &lines);
    assert_eq!(count(&results, 0), 32, "{results:?}");
    assert_eq!(saying(&results, "created VPC"), 32, "{results:?}");
    assert_whole(&mut sandbox, 32);
    let hosts = sandbox.ok(
        "ip -br link | grep -c '^vpc-'; ip -br -4 addr | grep '^vpc-' | tr -s ' ' | cut -d' ' -f3 | sort -u | wc -l",
    );
    assert_eq!(hosts, "32\n32\n");
    // And away again, while somebody else makes others.
    let deletes = (0..16).map(|n| format!("delete-vpc v{n}"));
    let creates = (32..48).map(|n| format!("create-vpc v{n} 10.{n}.0.0/16"));
    let results = at_once(&mut sandbox, &deletes.chain(creates).collect::<Vec<_>>());
    assert_eq!(count(&results, 0), 32, "{results:?}");
    assert_whole(&mut sandbox, 32);
}

/// Each state directory has a lock of its own; what all of them share on the host has one as well.
#[test]
fn state_directories_at_once_do_not_undo_each_others_part_of_the_host() {
    let mut sandbox = Sandbox::new();
    // Chains that come with the first rules are known to the state that they came for alone.
    sandbox.ok("for chain in INPUT FORWARD; do iptables -A $chain -i nosuch -j ACCEPT || exit; done");
    let before = sandbox.dump_host();
    let line = |n: usize, words: &str| format!("--state-dir $T/own{n} {words}");
    for _ in 0..3 {
        let create = |n| line(n, &format!("create-vpc v{n} 10.{n}.0.0/16 --uplink-pool 198.18.{n}.0/24"));
        let results = at_once(&mut sandbox, &(0..6).map(create).collect::<Vec<_>>());
        assert_eq!((count(&results, 0), saying(&results, "created VPC")), (6, 6), "{results:?}");
        for n in 0..6 {
            // The others' are what it doesn't know.
            let found = sandbox.expect(9, &format!("vpcctl {}", line(n, "check")));
            assert!(!found.stdout.lines().skip(1).any(|line| !line.ends_with("doesn't know it")), "{}", found.report());
        }
        let results = at_once(&mut sandbox, &(0..6).map(|n| line(n, "cleanup-all --yes")).collect::<Vec<_>>());
        assert_eq!(count(&results, 0), 6, "{results:?}");
        before.assert_same(&sandbox.dump_host(), "before and after");
    }
}

#[test]
fn the_same_at_once_is_made_once() {
    let mut sandbox = Sandbox::new();
    let results = at_once(&mut sandbox, &vec!["create-vpc same 10.0.0.0/16".to_owned(); 32]);
    assert_eq!(
        (count(&results, 0), saying(&results, "created VPC"), saying(&results, "nothing changed")),
        (32, 1, 31),
        "{results:?}"
    );
    // Other arguments under the same name: one wins, and the others hear of it.
    let clash: Vec<String> = (1..9).map(|n| format!("create-vpc clash 10.{n}.0.0/16")).collect();
    let results = at_once(&mut sandbox, &clash);
    assert_eq!((count(&results, 0), count(&results, 4)), (1, 7), "{results:?}");
    // Subnets that overlap, in each order of size.
    let lines: Vec<String> = (0..8).map(|n| format!("add-subnet same s{n} 10.0.0.0/{}", 20 + n)).collect();
    let results = at_once(&mut sandbox, &lines);
    assert_eq!((count(&results, 0), count(&results, 4)), (1, 7), "{results:?}");
    // A peering in both directions, and one with a VPC that goes.
    sandbox.ok("vpcctl create-vpc other 10.200.0.0/16");
    let lines = ["peer same other", "peer other same"].repeat(4);
    let lines: Vec<String> = lines.into_iter().map(str::to_owned).collect();
    let results = at_once(&mut sandbox, &lines);
    assert_eq!((count(&results, 0), saying(&results, "nothing changed")), (8, 7), "{results:?}");
    assert_whole(&mut sandbox, 3);
    let lines = ["delete-vpc other", "peer clash other", "unpeer same other", "peer same other"].map(str::to_owned);
    let results = at_once(&mut sandbox, &lines);
    assert_eq!(results[0].0, 0, "{results:?}");
    assert!(results.iter().all(|(code, _)| [0, 3, 4].contains(code)), "{results:?}");
    assert_whole(&mut sandbox, 2);
    // Made and deleted at once, by eight each: every answer is one of the two, and the rest is whole.
    let lines = ["create-vpc same 10.0.0.0/16", "delete-vpc same"].repeat(8);
    let lines: Vec<String> = lines.into_iter().map(str::to_owned).collect();
    let results = at_once(&mut sandbox, &lines);
    assert!(results.iter().all(|(code, _)| [0, 3].contains(code)), "{results:?}");
    let left = if sandbox.ok("vpcctl list").contains("same") { 2 } else { 1 };
    assert_whole(&mut sandbox, left);
}

#[test]
fn instances_added_at_once_have_addresses_of_their_own() {
    let mut sandbox = Sandbox::new();
    sandbox.ok("vpcctl create-vpc v 10.0.0.0/16 && vpcctl add-subnet v a 10.0.1.0/24");
    let results = at_once(&mut sandbox, &(0..32).map(|n| format!("add-instance v/a/n{n}")).collect::<Vec<_>>());
    assert_eq!(count(&results, 0), 32, "{results:?}");
    let addresses = sandbox
        .ok("for n in $(seq 0 31); do ip -n v-a-n$n -4 -br addr show eth0; done | tr -s ' ' | cut -d' ' -f3 | sort -u");
    assert_eq!(addresses.lines().count(), 32, "{addresses}");
    // An address that all want, and a subnet with room for one: 10.0.2.0/30 has it for its first instance alone.
    let results = at_once(
        &mut sandbox,
        &(0..8).map(|n| format!("add-instance v/a/x{n} --address 10.0.1.99")).collect::<Vec<_>>(),
    );
    assert_eq!((count(&results, 0), count(&results, 4)), (1, 7), "{results:?}");
    sandbox.ok("vpcctl add-subnet v b 10.0.2.0/29");
    let results = at_once(&mut sandbox, &(0..8).map(|n| format!("add-instance v/b/n{n}")).collect::<Vec<_>>());
    assert_eq!((count(&results, 0), count(&results, 4)), (4, 4), "{results:?}");
    assert_whole(&mut sandbox, 1);
}

#[test]
fn readers_see_the_old_or_the_new_while_writers_come_and_go() {
    let mut sandbox = Sandbox::new();
    sandbox.ok("vpcctl create-vpc v 10.0.0.0/16 && vpcctl add-subnet v a 10.0.1.0/24");
    sandbox.start("host", "writers", "sh -c 'for i in 1 2 3 4 5 6 7 8; do vpcctl add-subnet v b 10.0.2.0/24 || exit; vpcctl create-vpc w 10.1.0.0/16 || exit
        vpcctl delete-subnet v/b || exit; vpcctl delete-vpc w || exit; done; echo wrote'");
    let mut reads = 0;
    while sandbox.run("grep -q wrote $T/writers.out").code != 0 {
        for reader in ["list -o json", "inspect v -o json"] {
            let output = sandbox.run(&format!("vpcctl --lock-timeout 0 {reader}"));
            // Where something is made or unmade right now the kernel may lack it: that is drift, and no damage.
            assert!(output.code == 0 || (output.code == 9 && reader.starts_with("inspect")), "{}", output.report());
            assert!(serde_json::from_str::<serde_json::Value>(&output.stdout).is_ok(), "{}", output.report());
            reads += 1;
        }
        let errors = sandbox.run("grep error: $T/writers.out");
        assert_ne!(errors.code, 0, "{}", errors.report());
    }
    assert!(reads > 4, "the writers were done before anybody read");
    assert_whole(&mut sandbox, 1);
}

#[test]
fn what_runs_in_an_instance_has_neither_lock_nor_state() {
    let mut sandbox = Sandbox::new();
    sandbox.add_vpc1();
    sandbox.ok("mkfifo $T/wait");
    sandbox.ok("vpcctl deploy-app vpc1/public --port 80 && vpcctl deploy-app vpc1/public --port 81 -- sh -c 'nc -lk 81 >/dev/null'");
    sandbox.start("host", "exec", "vpcctl exec vpc1/public -- sh -c 'echo begun; cat $T/wait'");
    sandbox.start("host", "shell", "sh -c 'echo \"echo begun; cat $T/wait\" | SHELL=/bin/sh vpcctl shell vpc1/public'");
    sandbox.start("host", "private", "vpcctl sandbox -- sh -c 'echo begun; cat $T/wait'");
    for name in ["exec", "shell", "private"] {
        sandbox.wait_for_file(&format!("{name}.out"), |out| out.contains("begun"));
    }
    let open =
        sandbox.ok("ls -l /proc/[0-9]*/fd 2>/dev/null | grep -E 'vpcctl/(lock|state|intent|vpcctl.log)' || true");
    assert_eq!(open, "", "somebody has vpcctl's own files open");
    // The proof that such a look would find it.
    sandbox.start("host", "flock", "flock /var/lib/vpcctl/lock cat $T/wait");
    sandbox.wait_for("ls -l /proc/[0-9]*/fd 2>/dev/null | grep -q 'vpcctl/lock'");
}

/// iptables-legacy waits for a lock of its own, which has nothing to do with vpcctl's, for so long as vpcctl says.
#[test]
fn a_lock_of_iptables_legacy_is_waited_for_and_then_reported() {
    let mut sandbox = Sandbox::new();
    if sandbox.run("command -v iptables-legacy-restore && iptables-legacy -S").code != 0 {
        return;
    }
    // What vpcctl asks for is half a minute; the shim makes a second of it.
    sandbox.file(
        "restore",
        "#!/bin/sh\necho \"$*\" >>/run/legacy/asked\nshift 2\nexec /usr/sbin/iptables-legacy-restore -w 1 \"$@\"\n",
    );
    sandbox.ok("mkdir -p /run/legacy/sbin && cd /run/legacy/sbin && mkdir ../real && mount --bind /usr/sbin ../real
         for f in ../real/*; do ln -s /run/legacy/real/${f##*/} .; done
         rm iptables iptables-save iptables-restore; cp $T/restore iptables-restore; chmod 755 iptables-restore
         ln -s /run/legacy/real/xtables-legacy-multi iptables; ln -s /run/legacy/real/xtables-legacy-multi iptables-save
         mount --bind /run/legacy/sbin /usr/sbin; mkfifo $T/wait");
    let holder = sandbox.start("host", "holder", "flock /run/xtables.lock sh -c 'echo held; cat $T/wait'");
    sandbox.wait_for_file("holder.out", |out| out.contains("held"));
    let output = sandbox.fails(7, "vpcctl create-vpc vpc1 10.0.0.0/16", &["iptables-restore", "xtables lock"]);
    let asked = sandbox.ok("cat /run/legacy/asked");
    assert!(asked.lines().all(|line| line.starts_with("-w 30 ")), "{asked}");
    assert!(asked.lines().count() <= 4, "it waits over and over:\n{asked}{}", output.report());
    sandbox.ok(&format!("kill -0 {holder} && echo go >$T/wait"));
    sandbox.ok("vpcctl create-vpc vpc1 10.0.0.0/16");
    assert_whole(&mut sandbox, 1);
}
