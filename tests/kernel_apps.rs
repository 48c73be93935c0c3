//! Programs in instances: started, listed, stopped, healed; without root's powers; gone with what they run in.

mod support;

use support::Sandbox;

/// The process of the one app that there is.
const PID: &str = "$(vpcctl list-apps -o json | grep -m 1 '\"pid\"' | tr -dc 0-9)";

/// Ends once nothing runs but what ran before.
const ALONE: &str = "! pgrep -f 'supervise-app|init-app|http.server'";

#[test]
fn the_built_in_web_server_says_where_it_is_and_who_asks() {
    let mut sandbox = Sandbox::with_vpc1();
    sandbox.says("vpcctl deploy-app --vpc vpc1 --subnet public --port 8080", &["10.0.1.2:8080", "pid "]);
    let hello = "grep '^hello from vpc1/public 10.0.1.2:8080; you are ";
    sandbox.ok(&format!("curl -s --max-time 5 http://10.0.1.2:8080 | {hello}198.19.0.0$'"));
    let private = "ip netns exec vpc1-private curl -s --max-time 5 http://10.0.1.2:8080";
    sandbox.ok(&format!("{private} | {hello}10.0.2.2$'"));
    sandbox.ok("vpcctl logs vpc1/public | grep '^10.0.2.2 GET /$'");
    sandbox.ok("vpcctl logs vpc1/public -n 1 | wc -l | grep '^1$'");
    // A low port needs no privilege, and an instance has many.
    sandbox.ok("vpcctl deploy-app vpc1/public --port 80 && curl -s --max-time 5 http://10.0.1.2 | grep :80");
    sandbox.fails(2, "vpcctl logs vpc1/public", &["several apps", "80, 8080", "--port"]);
    sandbox.ok("vpcctl add-instance vpc1/public/web2 && vpcctl deploy-app vpc1/public/web2");
    sandbox.ok("curl -s --max-time 5 http://10.0.1.3:8080 | grep vpc1/public/web2");
    sandbox.fails(2, "vpcctl deploy-app vpc1", &["router runs no apps"]);
    sandbox.fails(3, "vpcctl deploy-app vpc1/nowhere", &["does not exist"]);
}

#[test]
fn an_app_has_none_of_roots_powers_and_nothing_of_vpcctls() {
    let mut sandbox = Sandbox::with_vpc1();
    sandbox.ok("vpcctl deploy-app vpc1/public");
    sandbox.ok("vpcctl deploy-app vpc1/private -- /usr/bin/python3 -SE -m http.server 8080");
    let pids = sandbox.ok("vpcctl list-apps -o json | grep '\"pid\"' | tr -dc '0-9\\n'");
    assert_eq!(pids.lines().count(), 2);
    for pid in pids.lines() {
        let status = sandbox.ok(&format!("cat /proc/{pid}/status"));
        for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
            sandbox.assert(status.contains(&format!("{set}:\t0000000000000000\n")), &format!("{set} in {status}"));
        }
        sandbox.assert(status.contains("NoNewPrivs:\t1\n"), &status);
        let files = sandbox.ok(&format!("ls -l /proc/{pid}/fd | grep /"));
        let own = |line: &str| line.ends_with("/dev/null") || line.contains("/var/lib/vpcctl/apps/vpc1-");
        sandbox.assert(files.lines().all(own), &format!("open files of {pid}: {files}"));
        let environment = sandbox.ok(&format!("tr '\\0' '\\n' </proc/{pid}/environ; true"));
        sandbox.assert(!environment.contains("T=/"), &format!("the caller's environment: {environment}"));
    }
    // The lock is free while both run.
    sandbox.ok("vpcctl --lock-timeout 0 add-subnet vpc1 more 10.0.3.0/24");
    sandbox.ok("flock -n /var/lib/vpcctl/lock true");
    // What needs a power fails in an app, and works in a root shell of the instance.
    let add = "ip addr add 10.0.1.99/24 dev eth0";
    sandbox.ok(&format!("vpcctl exec vpc1/public -- {add}"));
    sandbox.fails(1, &format!("vpcctl deploy-app vpc1/private -p 81 -- {add}"), &["Operation not permitted"]);
}

#[test]
fn an_app_that_does_not_come_up_is_an_error_with_its_own_words_and_leaves_nothing() {
    let mut sandbox = Sandbox::with_vpc1();
    let before = sandbox.state();
    let deploy = |command: &str| format!("vpcctl deploy-app vpc1/public {command}");
    let ended = ["port 8080", "ended before it listened", "exit code 3", "it said: oops", "hint: "];
    sandbox.fails(1, &deploy("-- sh -c 'echo oops; exit 3'"), &ended);
    let deaf = ["does not answer on 10.0.1.2:8080 after 1 s", "0.0.0.0"];
    sandbox.fails(1, &deploy("--wait 1 -- /usr/bin/python3 -SE -m http.server 8080 -b 127.0.0.1"), &deaf);
    sandbox.fails(1, &deploy("-- no-such-program"), &["cannot start `no-such-program` as user `nobody`"]);
    sandbox.fails(2, &deploy("--user mallory"), &["no user `mallory`", "hint: "]);
    sandbox.fails(2, &deploy("--directory /nonexistent -- true"), &["/nonexistent", "hint: "]);
    sandbox.fails(2, &deploy("--port 0"), &["--port"]);
    sandbox.serve("vpc1-public", &[7777]);
    sandbox.fails(1, &deploy("--port 7777"), &["something listens on port 7777", "hint: "]);
    sandbox.wait_for(ALONE);
    let after = sandbox.state();
    assert_eq!(network(&before), network(&after), "the state is as it was");
    sandbox.ok("test ! -e /var/lib/vpcctl/apps && vpcctl list-apps | grep 'no apps'");
}

/// The state without the command that it came from.
fn network(state: &str) -> &str {
    state.split_once("\"network\"").expect("a state").1
}

#[test]
fn the_same_twice_changes_nothing_and_another_program_is_a_conflict() {
    let mut sandbox = Sandbox::with_vpc1();
    sandbox.ok("vpcctl deploy-app vpc1/public");
    let pid = sandbox.ok(&format!("echo {PID}"));
    sandbox.says("vpcctl deploy-app vpc1/public", &["nothing changed"]);
    assert_eq!(pid, sandbox.ok(&format!("echo {PID}")));
    sandbox.fails(4, "vpcctl deploy-app vpc1/public -- sleep 5", &["another app", "stop-app vpc1/public --port 8080"]);
}

#[test]
fn an_app_that_ended_says_how_and_is_healed() {
    let mut sandbox = Sandbox::with_vpc1();
    sandbox.ok("vpcctl deploy-app vpc1/public");
    sandbox.ok(&format!("kill -KILL {PID}"));
    sandbox.wait_for("vpcctl list-apps | grep 'ended: signal 9'");
    sandbox.ok("vpcctl logs vpc1/public | grep 'the app ended: signal 9'");
    sandbox.says("vpcctl deploy-app vpc1/public", &["1 object mended"]);
    sandbox.ok("curl -s --max-time 5 http://10.0.1.2:8080");
    // With its supervisor killed it ends too: nobody would watch over it.
    sandbox.ok("pkill -KILL -f supervise-app");
    sandbox.wait_for(ALONE);
    sandbox.ok("vpcctl list-apps | grep gone");
    sandbox.says("vpcctl restore", &["1 object mended"]);
    sandbox.ok("curl -s --max-time 5 http://10.0.1.2:8080");
    sandbox.says("vpcctl restore", &["nothing changed"]);
}

#[test]
fn an_app_takes_all_that_it_started_with_it() {
    let mut sandbox = Sandbox::with_vpc1();
    // Two that cut themselves loose, one of them deaf to a polite word.
    let script = "setsid sleep 1001 & setsid sh -c 'trap \"\" TERM; while :; do sleep 1002; done' & \
                  exec /usr/bin/python3 -SE -m http.server 8080";
    sandbox.ok(&format!("vpcctl deploy-app vpc1/public -- sh -c '{}'", script.replace('\'', "'\\''")));
    sandbox.wait_for("pgrep -f 'sleep 1001' && pgrep -f 'sleep 1002'");
    sandbox.says("vpcctl stop-app vpc1/public", &["stopped"]);
    sandbox.ok(&format!("{ALONE} && ! pgrep -f 'sleep 100[12]'"));
    sandbox.fails(3, "vpcctl stop-app vpc1/public", &["has no app"]);
    sandbox.ok("vpcctl stop-app vpc1/public --if-exists");
}

#[test]
fn apps_go_with_their_instance_subnet_and_vpc_and_no_others() {
    let mut sandbox = Sandbox::with_vpc1();
    sandbox.ok("vpcctl add-instance vpc1/public/web2");
    for place in ["vpc1/public/web2", "vpc1/public", "vpc1/private"] {
        sandbox.ok(&format!("vpcctl deploy-app {place}"));
    }
    // A process by the same name that is nobody's business.
    let stranger = sandbox.start("host", "stranger", "sh -c 'sleep 1000 # supervise-app vpc1/public'");
    let apps = |sandbox: &mut Sandbox, expected: &str| {
        let found = sandbox.ok("vpcctl list-apps -o json | grep '\"instance\"' | cut -d '\"' -f 4 | tr '\\n' ' '");
        sandbox.assert(found.trim() == expected, &format!("`{found}` in place of `{expected}`"));
    };
    apps(&mut sandbox, "vpc1/private vpc1/public vpc1/public/web2");
    sandbox.ok("vpcctl delete-instance vpc1/public/web2");
    apps(&mut sandbox, "vpc1/private vpc1/public");
    sandbox.ok("vpcctl delete-subnet vpc1/public");
    apps(&mut sandbox, "vpc1/private");
    sandbox.ok("vpcctl delete-vpc vpc1");
    sandbox.ok("test ! -e /var/lib/vpcctl/apps && test ! -e /etc/netns");
    sandbox.ok(&format!("! pgrep -f init-app && kill -0 {stranger}"));
}

#[test]
fn a_number_that_was_used_again_is_not_ended() {
    let mut sandbox = Sandbox::with_vpc1();
    sandbox.ok("vpcctl deploy-app vpc1/public");
    sandbox.ok(&format!("kill -KILL {PID}"));
    sandbox.wait_for("vpcctl list-apps | grep 'ended'");
    // As if the supervisor's number were another's by now.
    let other = sandbox.start("host", "other", "sleep 1000");
    sandbox.ok(&format!(
        "sed -i 's/\"supervisor\":{{\"pid\":[0-9]*/\"supervisor\":{{\"pid\":{other}/' /var/lib/vpcctl/apps/*.json"
    ));
    sandbox.ok(&format!(
        "sed -i 's/,\"end\":{{[^}}]*}}//' /var/lib/vpcctl/apps/*.json && vpcctl stop-app vpc1/public && kill -0 {other}"
    ));
}

#[test]
fn restore_makes_all_again_after_a_reboot() {
    let mut sandbox = Sandbox::with_vpc1();
    sandbox.ok("vpcctl create-vpc vpc2 10.1.0.0/16 && vpcctl add-subnet vpc2 a 10.1.1.0/24 && vpcctl peer vpc1 vpc2");
    sandbox.ok("vpcctl deploy-app vpc1/public && vpcctl deploy-app vpc2/a --port 80");
    let before = sandbox.ok("vpcctl inspect -o json");
    // What a reboot leaves: the files below /etc and /var.
    sandbox.ok(
        "pkill -KILL -f supervise-app; for netns in $(ls /run/netns | grep '^vpc'); do ip netns del $netns; done
         iptables -F; iptables -X; iptables -t nat -F; iptables -t nat -X; iptables -t raw -F 2>/dev/null
         ip rule del pref 31000; ip rule del pref 31001; true",
    );
    sandbox.says("vpcctl restore", &["2 VPCs are whole", "mended"]);
    assert_eq!(before, sandbox.ok("vpcctl inspect -o json"));
    sandbox.ok("vpcctl exec vpc1/public -- curl -s --max-time 5 http://10.1.1.2");
    sandbox.ok("curl -s --max-time 5 http://10.0.1.2:8080");
    sandbox.open("vpc1-public", &["ping:203.0.113.5"]);
    sandbox.says("vpcctl restore", &["nothing changed"]);
}

#[test]
fn an_app_that_cannot_start_again_hinders_nothing_else() {
    let mut sandbox = Sandbox::with_vpc1();
    sandbox.ok("cp /bin/sh $T/once && vpcctl deploy-app vpc1/public -- $T/once -c 'exec /usr/bin/python3 -SE -m http.server 8080'");
    sandbox.ok("vpcctl deploy-app vpc1/private");
    sandbox.ok("rm $T/once; pkill -KILL -f supervise-app; ip netns del vpc1-public");
    sandbox.wait_for(ALONE);
    sandbox.fails(1, "vpcctl restore", &["cannot start the app on port 8080 of `vpc1/public`", "once"]);
    sandbox.ok("ping -c 1 -W 2 10.0.1.2 && curl -s --max-time 5 http://10.0.2.2:8080");
    sandbox.ok("vpcctl add-subnet vpc1 more 10.0.3.0/24");
    sandbox.ok("vpcctl stop-app vpc1/public && vpcctl restore");
}

#[test]
fn exec_and_shell_pass_on_code_signals_and_terminal() {
    let mut sandbox = Sandbox::with_vpc1();
    sandbox.expect(7, "vpcctl exec vpc1/public -- sh -c 'exit 7'");
    sandbox.expect(137, "vpcctl exec vpc1/public -- sh -c 'kill -KILL $$'");
    sandbox.ok("vpcctl exec vpc1 -- ip -br link show dev br-vpc1");
    sandbox.ok("vpcctl exec vpc1/public -- ip -br addr show dev eth0 | grep 10.0.1.2/24");
    // Ctrl-C is the command's, and the terminal is its own.
    let typed = |command: &str, keys: &str| format!("printf '{keys}' | timeout 20 script -qec '{command}' /dev/null");
    sandbox.ok(&format!(
        "{} | grep 'a terminal'",
        typed("vpcctl exec vpc1/public -- sh -c \"test -t 0 && echo a terminal\"", "")
    ));
    sandbox.expect(9, &typed("SHELL=/bin/sh vpcctl shell vpc1/private", "ip addr >$T/shell.out; exit 9\\n"));
    sandbox.ok("grep 10.0.2.2/24 $T/shell.out");
    let pid = sandbox.start("host", "signalled", "vpcctl exec vpc1/public -- sh -c 'trap \"echo got it; exit 5\" TERM; echo ready; while :; do sleep 0.01; done'");
    sandbox.wait_for_file("signalled.out", |out| out.contains("ready"));
    sandbox.ok(&format!("kill -TERM {pid}"));
    sandbox.wait_for_file("signalled.out", |out| out.contains("got it"));
    sandbox.fails(3, "vpcctl shell vpc1/nowhere", &["does not exist", "public"]);
}

#[test]
fn names_resolve_where_the_hosts_own_resolver_is_a_stub() {
    let mut sandbox = Sandbox::new();
    sandbox.ok("mkdir -p /run/systemd/resolve && cp /etc/resolv.conf /run/systemd/resolve/resolv.conf");
    sandbox.ok("echo nameserver 127.0.0.53 >/etc/resolv.conf");
    sandbox.add_vpc1();
    sandbox.ok("vpcctl add-instance vpc1/public/web2 && vpcctl add-subnet vpc1 later 10.0.3.0/24 --public");
    for netns in ["vpc1-public", "vpc1-public-web2", "vpc1-later"] {
        sandbox.ok(&format!("ip netns exec {netns} ping -c 1 -W 5 example.com"));
    }
    sandbox.ok("vpcctl exec vpc1/public -- curl -s --max-time 5 http://example.com | grep 198.51.100.10");
    sandbox.expect(2, "ip netns exec vpc1-private ping -c 1 -W 5 example.com");
    // It is the namespace's file that does it: without it, the stub is asked, and nobody is there.
    sandbox.ok("rm /etc/netns/vpc1-public/resolv.conf; ! ip netns exec vpc1-public ping -c 1 -W 5 example.com");
    sandbox.says("vpcctl enable-nat vpc1", &["mended"]);
    sandbox.ok("ip netns exec vpc1-public ping -c 1 -W 5 example.com");
    sandbox.ok("vpcctl disable-nat vpc1 --subnet later && test ! -e /etc/netns/vpc1-later");
    sandbox.ok("vpcctl enable-nat vpc1 --dns 203.0.113.99 && grep 203.0.113.99 /etc/netns/vpc1-public/resolv.conf");
    sandbox.ok("vpcctl enable-nat vpc1 && grep 203.0.113.99 /etc/netns/vpc1-public/resolv.conf");
    // Somebody's own file is used and kept.
    sandbox.ok("mkdir -p /etc/netns/vpc1-own && echo nameserver 203.0.113.77 >/etc/netns/vpc1-own/resolv.conf");
    sandbox.ok("vpcctl add-subnet vpc1 own 10.0.4.0/24 --public && vpcctl delete-vpc vpc1");
    sandbox.ok("grep 203.0.113.77 /etc/netns/vpc1-own/resolv.conf && test $(ls /etc/netns) = vpc1-own");
}

#[test]
fn a_host_without_a_server_to_ask_gets_public_ones_and_is_told_so() {
    let mut sandbox = Sandbox::new();
    sandbox.ok("echo nameserver 127.0.0.1 >/etc/resolv.conf");
    sandbox.ok("vpcctl create-vpc vpc1 10.0.0.0/16 && vpcctl add-subnet vpc1 public 10.0.1.0/24 --public");
    sandbox.says("vpcctl enable-nat vpc1", &["names are asked of 1.1.1.1 and 8.8.8.8", "--dns"]);
    sandbox.ok("grep 'nameserver 1.1.1.1' /etc/netns/vpc1-public/resolv.conf");
}

#[test]
fn a_dry_run_of_an_app_is_a_script_that_starts_it() {
    let mut sandbox = Sandbox::with_vpc1();
    let script =
        sandbox.ok("vpcctl --dry-run deploy-app vpc1/public -- sh -c 'exec /usr/bin/python3 -SE -m http.server 8080'");
    assert!(script.contains("ip netns exec vpc1-public vpcctl run-app vpc1/public"), "{script}");
    sandbox.expect(7, "curl -s --max-time 5 http://10.0.1.2:8080");
    let path = sandbox.file("deploy.sh", &script);
    sandbox.ok(&format!("sh -e {path}"));
    sandbox.ok("curl -s --max-time 5 http://10.0.1.2:8080");
    sandbox.says(
        "vpcctl deploy-app vpc1/public -- sh -c 'exec /usr/bin/python3 -SE -m http.server 8080'",
        &["deployed sh -c exec"],
    );
    let script = sandbox.ok("vpcctl --dry-run stop-app vpc1/public");
    let path = sandbox.file("stop.sh", &script);
    sandbox.ok(&format!("sh -e {path}"));
    sandbox.wait_for(ALONE);
}

#[test]
fn apps_of_one_user_see_nothing_of_each_other() {
    let mut sandbox = Sandbox::with_vpc1();
    sandbox.ok("vpcctl create-vpc vpc2 10.1.0.0/16 && vpcctl add-subnet vpc2 a 10.1.1.0/24");
    sandbox.ok("vpcctl deploy-app vpc1/public");
    let pid = sandbox.ok(&format!("echo {PID}"));
    // It looks at every process that there is, asks all to end, and then serves.
    let script = "ls -d /proc/[0-9]*; kill -TERM -1; exec /usr/bin/python3 -SE -m http.server 8080";
    sandbox.ok(&format!("vpcctl deploy-app vpc2/a -- sh -c '{script}'"));
    let seen = sandbox.ok("vpcctl logs vpc2/a | grep -c '^/proc/'");
    // The first process, and the program itself.
    assert_eq!(seen.trim(), "2", "{}", sandbox.ok("vpcctl logs vpc2/a"));
    sandbox.ok(&format!("kill -0 {} && curl -s --max-time 5 http://10.0.1.2:8080", pid.trim()));
}

#[test]
fn whatever_dies_first_nothing_of_an_app_lives_on() {
    let mut sandbox = Sandbox::with_vpc1();
    let script = "setsid sleep 1001 & exec /usr/bin/python3 -SE -m http.server 8080";
    for killed in ["supervise-app", "init-app", "http.server"] {
        sandbox.ok(&format!("vpcctl deploy-app vpc1/public -- sh -c '{script}' && pgrep -f 'sleep 1001'"));
        sandbox.ok(&format!("pkill -KILL -f {killed}"));
        sandbox.wait_for(&format!("{ALONE} && ! pgrep -f 'sleep 1001'"));
        sandbox.ok("vpcctl list-apps | grep -e gone -e ended && vpcctl stop-app vpc1/public");
    }
    // One that is stopped can't be asked, and is ended all the same.
    sandbox.ok(&format!("vpcctl deploy-app vpc1/public -- sh -c '{script}' && pkill -STOP -f supervise-app"));
    sandbox.ok(&format!("vpcctl stop-app vpc1/public && {ALONE}"));
    sandbox.wait_for("! pgrep -f 'sleep 1001'");
}

#[test]
fn the_log_is_bounded_and_not_the_apps_to_forge() {
    let mut sandbox = Sandbox::with_vpc1();
    sandbox.ok("vpcctl deploy-app vpc1/public --wait 0 -- sh -c 'truncate -s 0 /dev/stdout; yes a line of the log'");
    sandbox.wait_for("vpcctl logs vpc1/public | head -n 1 | grep 'begins anew'");
    let size = sandbox.ok("stat -c %s /var/lib/vpcctl/apps/vpc1-public.8080.log");
    assert!(size.trim().parse::<u64>().expect("a number") < 9 * 1024 * 1024, "{size}");
    sandbox.ok("vpcctl stop-app vpc1/public");
    // A terminal is not commanded by what an app prints.
    sandbox.ok("vpcctl deploy-app vpc1/public --wait 0 -- sh -c 'printf \"\\033]0;title\\007\\n\"; exec sleep 1000'");
    sandbox.wait_for("vpcctl logs vpc1/public | grep title");
    let shown = sandbox.ok("script -qec 'vpcctl logs vpc1/public' /dev/null </dev/null");
    assert!(shown.contains("title") && !shown.contains('\u{1b}') && !shown.contains('\u{7}'), "{shown:?}");
}

#[test]
fn a_signal_ends_the_wait_for_an_app_and_undoes_it() {
    let mut sandbox = Sandbox::with_vpc1();
    let pid =
        sandbox.start("host", "deploy", "sh -c 'vpcctl deploy-app vpc1/public --wait 600 -- sleep 1003; echo code $?'");
    sandbox.wait_for("pgrep -f 'sleep 1003' && test -e /var/lib/vpcctl/apps/vpc1-public.8080.json");
    sandbox.ok(&format!("pkill -INT -P {pid} -f deploy-app"));
    sandbox.wait_for_file("deploy.out", |out| out.contains("code 130"));
    sandbox.ok(&format!("{ALONE} && vpcctl list-apps | grep 'no apps' && ! pgrep -f 'sleep 1003'"));
}

#[test]
fn a_killed_deploy_leaves_no_app_behind() {
    let mut sandbox = Sandbox::with_vpc1();
    for victim in ["vpcctl deploy-app", "run-app", "supervise-app"] {
        sandbox.start("host", "deploy", "vpcctl deploy-app vpc1/public --wait 600 -- sleep 1004");
        sandbox.wait_for("pgrep -f '^sleep 1004'");
        sandbox.ok(&format!(
            "pkill -KILL -f '{victim}' || true; pkill -KILL -f 'vpcctl deploy-app'; pkill -KILL -f run-app; true"
        ));
        sandbox.ok("vpcctl restore");
        sandbox.ok("vpcctl list-apps | grep 'no apps' && test ! -e /var/lib/vpcctl/apps");
        sandbox.wait_for("! pgrep -f 'sleep 1004'");
    }
}

#[test]
fn odd_files_in_the_place_of_a_resolv_conf_hold_nobody_up() {
    let mut sandbox = Sandbox::with_vpc1();
    let file = "/etc/netns/vpc1-public/resolv.conf";
    sandbox.says(&format!(": >{file}; vpcctl restore"), &["1 object mended"]);
    sandbox.ok(&format!(
        "(umask 077; rm -r /etc/netns; vpcctl restore) && stat -c %a /etc/netns {file} | tr '\\n' ' ' | grep '755 644'"
    ));
    for odd in ["mkfifo", "mkdir", "ln -s /dev/zero"] {
        sandbox.ok(&format!("rm -rf {file}; {odd} {file}; timeout 5 vpcctl inspect && timeout 5 vpcctl restore"));
    }
    sandbox.ok(&format!("vpcctl delete-vpc vpc1; test -L {file} && rm -r /etc/netns"));
}
