//! Disks that are full, broken or read-only, and vpcctl killed while it writes: the state is the old or the new one, and the
//! kernel is what it says.

mod support;

use support::Sandbox;
use support::disk::SystemCall;
use support::dump::Dump;

const CREATE: &str = "vpcctl create-vpc vpc1 10.0.0.0/16";
const DELETE: &str = "vpcctl delete-vpc vpc1";

/// Two states, and the command that leads from the one to the other.
struct Stage {
    sandbox: Sandbox,
    command: &'static str,
    back: &'static str,
    old: (String, Dump),
    new: (String, Dump),
    calls: Vec<SystemCall>,
}

impl Stage {
    fn new(before: &[&str], command: &'static str, back: &'static str) -> Stage {
        let mut sandbox = Sandbox::new();
        sandbox.ok("echo 1 >/proc/sys/net/ipv6/conf/eth0/disable_ipv6");
        // The state directory with its log is there before.
        sandbox.ok("vpcctl create-vpc first 10.9.0.0/16 && vpcctl delete-vpc first");
        before.iter().for_each(|command| drop(sandbox.ok(command)));
        let old = (sandbox.state(), sandbox.dump_without_files());
        let calls = sandbox.system_calls(command);
        let new = (sandbox.state(), sandbox.dump_without_files());
        sandbox.ok(back);
        let names: Vec<&str> = calls.iter().map(|call| call.name.as_str()).collect();
        for needed in ["write", "fsync", "rename"] {
            assert!(names.contains(&needed), "`{command}` makes no {needed}: {names:?}");
        }
        Stage { sandbox, command, back, old, new, calls }
    }

    /// Back to the old state, wherever the last try led.
    fn go_back(&mut self) {
        if !support::faults::same_network(&self.sandbox.state(), &self.old.0) {
            self.sandbox.ok(self.back);
        }
    }

    /// vpcctl is killed at each system call: the next command ends in the old or the new state.
    fn kill_at_each(mut self) {
        for call in self.calls.clone() {
            let what = format!("`{}`, killed at {call:?}", self.command);
            let output = self.sandbox.at_system_call(&call, "signal=KILL", self.command);
            assert_eq!(output.code, 137, "{what}: {}", output.report());
            self.sandbox.expect(3, "vpcctl delete-vpc nobody");
            self.sandbox.assert_network(&[&self.old, &self.new], &what);
            self.go_back();
        }
        println!("`{}`: {} system calls", self.command, self.calls.len());
    }

    /// Each system call fails: the command says so and has undone what it did, or the next one does.
    fn fail_at_each(mut self, errors: &[&str]) {
        let mut points = 0;
        for call in self.calls.clone() {
            for error in errors.iter().filter(|error| can_fail(&call.name, error)) {
                let what = format!("`{}`, {error} at {call:?}", self.command);
                let output = self.sandbox.at_system_call(&call, &format!("error={error}"), self.command);
                points += 1;
                if output.code == 0 {
                    self.sandbox.assert_network(&[&self.new], &what);
                } else {
                    assert!(matches!(output.code, 5 | 8), "{what}: {}", output.report());
                    let says = output.stderr.contains("error: cannot") && output.stderr.contains("/var/lib/vpcctl");
                    assert!(says, "{what}: {}", output.report());
                    self.sandbox.expect(3, "vpcctl delete-vpc nobody");
                    self.sandbox.assert_network(&[&self.old, &self.new], &what);
                }
                self.go_back();
            }
        }
        println!("`{}`: {points} errors", self.command);
    }
}

/// Not every error comes from every call.
fn can_fail(call: &str, error: &str) -> bool {
    match error {
        "ENOSPC" => matches!(call, "openat" | "write" | "fsync" | "rename"),
        "EROFS" => matches!(call, "openat" | "rename" | "unlink"),
        _ => matches!(call, "write" | "fsync" | "rename" | "unlink"),
    }
}

#[test]
fn create_is_killed_at_each_system_call_on_the_state() {
    Stage::new(&[], CREATE, DELETE).kill_at_each();
}

#[test]
fn delete_is_killed_at_each_system_call_on_the_state() {
    Stage::new(&[CREATE], DELETE, CREATE).kill_at_each();
}

#[test]
fn create_meets_an_error_at_each_system_call_on_the_state() {
    Stage::new(&[], CREATE, DELETE).fail_at_each(&["ENOSPC", "EIO", "EROFS"]);
}

#[test]
fn delete_meets_an_error_at_each_system_call_on_the_state() {
    Stage::new(&[CREATE], DELETE, CREATE).fail_at_each(&["ENOSPC", "EIO"]);
}

/// A state directory on a small disk of its own, with a VPC, and the state of things.
fn on_a_small_disk() -> (Sandbox, String, Dump) {
    let mut sandbox = Sandbox::new();
    sandbox.ok("mkdir -p /var/lib/vpcctl && mount -t tmpfs -o size=128k,mode=700 tmpfs /var/lib/vpcctl");
    sandbox.ok(CREATE);
    let (state, kernel) = (sandbox.state(), sandbox.dump_without_files());
    (sandbox, state, kernel)
}

/// Commands that change something fail with exit code 8 before they touch the kernel, those that read work.
#[track_caller]
fn assert_untouched(sandbox: &mut Sandbox, (state, kernel): (&str, &Dump), what: &str) {
    for command in ["vpcctl add-subnet vpc1 web 10.0.1.0/24", "vpcctl create-vpc vpc2 10.1.0.0/16", DELETE] {
        let output = sandbox.fails(8, command, &["error: cannot", "hint: "]);
        assert_eq!(sandbox.state(), state, "{what}: {}", output.report());
        kernel.assert_same(&sandbox.dump_without_files(), what);
    }
    sandbox.ok("vpcctl list && vpcctl inspect vpc1 && vpcctl --dry-run delete-vpc vpc1");
    let files = sandbox.ok("ls /var/lib/vpcctl");
    assert!(!files.contains("intent") && !files.contains(".new"), "{what}: {files}");
}

#[test]
fn a_full_disk_is_no_end() {
    let (mut sandbox, state, kernel) = on_a_small_disk();
    sandbox.ok("cat /dev/zero >/var/lib/vpcctl/fill 2>/dev/null; true");
    assert_untouched(&mut sandbox, (&state, &kernel), "a full disk");
    // Room for a part of the file only: the write is short, and the next one fails.
    sandbox.ok("rm /var/lib/vpcctl/fill && vpcctl add-subnet vpc1 web 10.0.1.0/24 && vpcctl delete-subnet vpc1/web");
}

#[test]
fn a_read_only_disk_is_for_reading() {
    let (mut sandbox, state, kernel) = on_a_small_disk();
    sandbox.ok("mount -o remount,ro /var/lib/vpcctl");
    assert_untouched(&mut sandbox, (&state, &kernel), "a read-only disk");
    sandbox.ok("mount -o remount,rw /var/lib/vpcctl && vpcctl add-subnet vpc1 web 10.0.1.0/24");
}

#[test]
fn a_limit_on_the_size_of_files_is_an_error_like_others() {
    let mut sandbox = Sandbox::new();
    sandbox.ok(&format!("{CREATE} && vpcctl add-subnet vpc1 web 10.0.1.0/24"));
    let old = (sandbox.state(), sandbox.dump_without_files());
    let command = "vpcctl add-subnet vpc1 db 10.0.2.0/24";
    let mut failed = 0;
    // In blocks of 512 bytes: from none to enough.
    for blocks in 0..24 {
        let output = sandbox.run(&format!("ulimit -f {blocks}; {command}"));
        if output.code == 0 {
            sandbox.ok("vpcctl delete-subnet vpc1/db");
            continue;
        }
        failed += 1;
        assert!(matches!(output.code, 1 | 8), "{blocks}: {}", output.report());
        sandbox.expect(3, "vpcctl delete-vpc nobody");
        sandbox.assert_network(&[&old], &format!("files of {blocks} blocks"));
    }
    assert!(failed > 1, "no limit was too small");
    sandbox.ok(command);
}

#[test]
fn few_files_and_little_memory_are_errors_like_others() {
    let mut sandbox = Sandbox::new();
    sandbox.ok(CREATE);
    let old = (sandbox.state(), sandbox.dump_without_files());
    let command = "vpcctl add-subnet vpc1 web 10.0.1.0/24";
    let files = (3..24).map(|count| format!("ulimit -n {count}"));
    let memory = (1..12).map(|step| format!("ulimit -v {}", step * 6000));
    for limit in files.chain(memory) {
        let output = sandbox.run(&format!("{limit}; {command}"));
        if output.code != 0 {
            sandbox.expect(3, "vpcctl delete-vpc nobody");
            sandbox.assert_network(&[&old], &format!("{limit}: {}", output.report()));
        } else {
            sandbox.ok("vpcctl delete-subnet vpc1/web");
        }
    }
    sandbox.ok(command);
}

/// Namespaces are held by a file each while they lose their names, but for where there is no room for that.
#[test]
fn many_namespaces_go_where_few_files_may_be_open() {
    let mut sandbox = Sandbox::new();
    sandbox.ok(CREATE);
    let none = (sandbox.state(), sandbox.dump_without_files());
    for limit in ["ulimit -n 48", "ulimit -Sn 48", "ulimit -n 32"] {
        sandbox.ok("for i in $(seq 50); do vpcctl add-subnet -q vpc1 s$i 10.0.$i.0/24 || exit; done");
        sandbox.ok(&format!("{limit}; vpcctl delete-vpc vpc1"));
        sandbox.settle();
        sandbox.ok(CREATE);
        sandbox.assert_network(&[&none], limit);
    }
}

#[test]
fn where_namespaces_live_may_be_full_or_read_only() {
    for spoil in ["mount -t tmpfs -o ro tmpfs /run/netns", "mount -t tmpfs -o nr_inodes=1 tmpfs /run/netns"] {
        let mut sandbox = Sandbox::new();
        sandbox.ok(CREATE);
        let old = (sandbox.state(), sandbox.dump_without_files());
        let output = sandbox.run(&format!("{spoil} && vpcctl create-vpc vpc2 10.1.0.0/16"));
        assert!(matches!(output.code, 1 | 6), "{spoil}: {}", output.report());
        sandbox.ok("umount /run/netns");
        sandbox.expect(3, "vpcctl delete-vpc nobody");
        sandbox.assert_network(&[&old], spoil);
        sandbox.ok("vpcctl create-vpc vpc2 10.1.0.0/16");
    }
}

#[test]
fn who_reads_no_further_is_no_error() {
    let mut sandbox = Sandbox::new();
    sandbox.ok(CREATE);
    for command in ["vpcctl list", "vpcctl -o json inspect", "vpcctl --dry-run delete-vpc vpc1", "vpcctl help"] {
        let output = sandbox.run(&format!("{{ {command}; echo $? >$T/code; }} | true; cat $T/code"));
        assert_eq!((output.stdout.trim(), output.stderr.as_str()), ("0", ""), "{}", output.report());
    }
    // What changes something does so even where nobody listens.
    sandbox.ok("vpcctl add-subnet vpc1 web 10.0.1.0/24 >&- 2>&-");
    sandbox.ok("test -e /run/netns/vpc1-web && grep -q '\"web\": {' /var/lib/vpcctl/state.json");
    sandbox.ok("vpcctl delete-subnet vpc1/web 2>&1 | true; vpcctl list | cat");
    sandbox.ok("test ! -e /run/netns/vpc1-web && ! grep -q '\"web\": {' /var/lib/vpcctl/state.json");
}
