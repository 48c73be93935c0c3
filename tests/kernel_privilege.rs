//! What a hostile place can't do: odd files where vpcctl's are, an environment that would change its tools, descriptors and
//! rights that it didn't ask for.

mod support;

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use support::Sandbox;
use vpcctl::model::state::State;
use vpcctl::store::{Document, Store, Wait};

/// A user without rights.
const NOBODY: u32 = 65534;

const CREATE: &str = "vpcctl create-vpc vpc1 10.0.0.0/16";

/// The state directory as vpcctl makes it.
const DIR: &str = "/var/lib/vpcctl";

/// The command is refused with this code and these words; the kernel and the files outside stay as they are.
#[track_caller]
fn refuses(sandbox: &mut Sandbox, damage: &str, command: &str, code: i32, words: &[&str]) {
    sandbox.ok(&format!(
        "rm -rf {DIR} $T/target && mkdir -m 700 {DIR} && echo precious >$T/target && chmod 644 $T/target"
    ));
    sandbox.ok(damage);
    let files = ["host/files", "host/processes", "host/mounts"];
    let kernel = sandbox.dump().without(&files);
    sandbox.fails(code, command, words);
    kernel.assert_same(&sandbox.dump().without(&files), damage);
    assert_eq!(sandbox.ok("cat $T/target; stat -c %a $T/target"), "precious\n644\n", "{damage}");
}

#[test]
fn an_unsafe_state_directory_is_refused() {
    let mut sandbox = Sandbox::new();
    let elsewhere = format!("rm -rf {DIR} $T/elsewhere && mkdir -m 700 $T/elsewhere");
    for (damage, why) in [
        (format!("chmod 777 {DIR}"), "others may write to it"),
        (format!("chmod 1777 {DIR}"), "others may write to it"),
        (format!("chmod 770 {DIR}"), "others may write to it"),
        (format!("{elsewhere} && ln -s $T/elsewhere {DIR}"), "it is a symbolic link"),
        (format!("rm -r {DIR} && : >{DIR}"), ""),
        (format!("rm -r {DIR} && mkfifo {DIR}"), ""),
        (format!("rm -r {DIR} && ln -s $T/nowhere {DIR}"), ""),
    ] {
        refuses(&mut sandbox, &damage, CREATE, 8, &["error: ", DIR, why, " hint: "]);
    }
    let link = format!("{elsewhere} && ln -s $T/elsewhere {DIR}");
    refuses(
        &mut sandbox,
        &link,
        &format!("vpcctl --state-dir {DIR}/ create-vpc vpc1 10.0.0.0/16"),
        8,
        &["symbolic link"],
    );
    sandbox.ok("test -z \"$(ls $T/elsewhere)\"");
}

/// In a sandbox, which has one user, all others' files belong to 65534: those of the host's root, or those that root gives away.
#[test]
fn what_belongs_to_somebody_else_is_refused() {
    let mut sandbox = Sandbox::new();
    let (theirs, file) = (sandbox.dir().join("theirs"), sandbox.dir().join("theirs/file"));
    std::fs::create_dir(&theirs).and_then(|()| std::fs::write(&file, "{}")).expect("a file");
    let (theirs, file) = match rustix::process::geteuid().is_root() {
        true => {
            let give = |path| std::os::unix::fs::chown(path, Some(1), Some(1)).expect("it is given away");
            give(&file);
            give(&theirs);
            (theirs, file)
        }
        false => ("/usr".into(), "/usr/bin/env".into()),
    };
    let (theirs, file) = (theirs.display(), file.display());
    let refused = format!("`{theirs}` is not safe: it belongs to user 65534");
    sandbox.fails(8, &format!("vpcctl --state-dir {theirs} create-vpc vpc1 10.0.0.0/16"), &[&refused]);
    for name in ["state.json", "intent.json", "lock", "vpcctl.log"] {
        sandbox
            .ok(&format!("rm -rf {DIR} && mkdir -m 700 {DIR} && : >{DIR}/{name} && mount --bind {file} {DIR}/{name}"));
        let command = format!("VPCCTL_LOG=warn {CREATE}");
        match name {
            // Another's log is not written to, and no reason not to act.
            "vpcctl.log" => drop(sandbox.says(&command, &["no action log"])),
            // It can't even be opened to write to it.
            "lock" => drop(sandbox.fails(5, &command, &["lock", "Permission denied"])),
            _ => drop(sandbox.fails(8, &command, &[name, "it belongs to user 65534, not to user 0"])),
        }
        sandbox.ok(&format!("umount {DIR}/{name}"));
    }
}

#[test]
fn a_file_of_the_state_directory_that_is_no_file_is_refused() {
    let mut sandbox = Sandbox::new();
    for name in ["state.json", "intent.json", "lock"] {
        let path = format!("{DIR}/{name}");
        for (damage, words) in [
            (format!("ln -s $T/target {path}"), "it is a symbolic link"),
            (format!("ln -s /etc/passwd {path}"), "it is a symbolic link"),
            (format!("ln -s $T/nowhere {path}"), "it is a symbolic link"),
            (format!("mkdir {path}"), ""),
            (format!("mkfifo {path}"), "it is not a regular file"),
            (format!(": >{path} && mount --bind /dev/zero {path}"), "it is not a regular file"),
        ] {
            refuses(&mut sandbox, &damage, CREATE, 8, &["error: ", name, words, " hint: "]);
            if name == "state.json" {
                sandbox.fails(8, "vpcctl list", &["error: ", name, words]);
            }
            sandbox.ok(&format!("umount {path} 2>/dev/null; test ! -e $T/nowhere"));
        }
    }
}

#[test]
fn a_name_that_was_taken_beforehand_is_not_followed() {
    let mut sandbox = Sandbox::new();
    sandbox.ok(&format!("rm -rf {DIR} && mkdir -m 700 {DIR} && echo precious >$T/target && chmod 644 $T/target"));
    // What is written beside takes no link's target; a log that is a link is not written to.
    sandbox.ok(&format!("ln -s $T/target {DIR}/state.json.new && ln -s $T/target {DIR}/vpcctl.log && {CREATE}"));
    assert_eq!(sandbox.ok("cat $T/target; stat -c %a $T/target"), "precious\n644\n");
    sandbox.ok(&format!("test ! -e {DIR}/state.json.new && test -f {DIR}/state.json && test -L {DIR}/vpcctl.log"));
    // A directory there is somebody's, and the command fails as a whole.
    let kernel = sandbox.dump().without(&["host/files", "host/processes"]);
    sandbox.ok(&format!("mkdir {DIR}/state.json.new"));
    sandbox.fails(8, "vpcctl create-vpc vpc2 10.1.0.0/16", &["state.json.new"]);
    kernel.assert_same(&sandbox.dump().without(&["host/files", "host/processes"]), "a directory in the way");
}

#[test]
fn files_are_roots_alone_whatever_the_umask() {
    for umask in ["0", "077"] {
        let mut sandbox = Sandbox::new();
        sandbox.ok(&format!(
            "rm -rf {DIR}; umask {umask}; {CREATE} && vpcctl add-subnet vpc1 a 10.0.1.0/24 --public && vpcctl enable-nat vpc1
             vpcctl deploy-app vpc1/a --port 80"
        ));
        let modes = sandbox.ok(&format!("cd {DIR} && stat -c '%a %n' . apps state.json lock vpcctl.log apps/*"));
        let wrong = |line: &&str| !(line.starts_with("600 ") || line == &"700 ." || line == &"700 apps");
        assert_eq!(modes.lines().filter(wrong).collect::<Vec<_>>(), Vec::<&str>::new(), "umask {umask}:\n{modes}");
        let resolver = sandbox.ok("find /etc/netns -printf '%m %y %p\\n'");
        assert!(resolver.lines().all(|line| line.starts_with("755 d") || line.starts_with("644 f")), "{resolver}");
        assert!(resolver.contains("644 f /etc/netns/vpc1-a/resolv.conf"), "{resolver}");
    }
    // A lock that others could open is closed to them.
    let mut sandbox = Sandbox::new();
    sandbox.ok(&format!("rm -rf {DIR} && mkdir -m 755 {DIR} && : >{DIR}/lock && chmod 666 {DIR}/lock && {CREATE}"));
    assert_eq!(sandbox.ok(&format!("stat -c %a {DIR}/lock")), "600\n");
}

#[test]
fn the_environment_changes_no_tool() {
    let mut sandbox = Sandbox::new();
    sandbox.ok("mkdir $T/evil && for tool in ip ipset iptables-restore iptables-save nft bridge sh modprobe; do
             printf '#!/bin/sh\\necho $0 >>%s/called\\n' $T >$T/evil/$tool && chmod 755 $T/evil/$tool; done
         printf 'echo BASH_ENV >>%s/called\\n' $T >$T/evil/bash_env");
    let commands = "\"$V\" create-vpc vpc1 10.0.0.0/16 && \"$V\" add-subnet vpc1 a 10.0.1.0/24 --public && \"$V\" enable-nat vpc1 && \"$V\" inspect vpc1";
    let hostile = "V=$(command -v vpcctl); mkdir -p $T/none
         export PATH=$T/evil:. IFS=x BASH_ENV=$T/evil/bash_env ENV=$T/evil/bash_env XTABLES_LIBDIR=$T/none IPTABLES_LIB_DIR=$T/none
         export IP6TABLES_LIB_DIR=$T/none LANG=de_DE.UTF-8 LC_ALL=de_DE.UTF-8 LANGUAGE=de LD_LIBRARY_PATH=$T/none IPSET_DEBUG=1
         export LD_DEBUG=libs LD_DEBUG_OUTPUT=$T/loaded MALLOC_PERTURB_=7 XTABLES_LOCKFILE=$T/none/lock NFT_DEBUG=1 TMPDIR=$T/none";
    sandbox.ok(&format!("{hostile}; {commands}"));
    sandbox.ok("test ! -e $T/called");
    // LD_DEBUG_OUTPUT would have one file for each program that read it: vpcctl alone did, four times.
    let loaded = sandbox.ok("ls $T | grep -c '^loaded' || true").trim().parse::<usize>().expect("a number");
    assert!(loaded <= 4, "{loaded} programs read LD_DEBUG");
    // And these shims do work where they are found.
    sandbox.ok("(PATH=$T/evil; ip link); test -s $T/called");
    sandbox.open("vpc1-a", &["ping:203.0.113.5"]);
}

#[test]
fn nothing_is_needed_of_the_environment() {
    let mut sandbox = Sandbox::new();
    for (line, number) in [
        ("env -i $V", 1),
        ("env -u PATH -u HOME -u TERM $V", 2),
        ("env TERM=unknown LANG=xx HOME=/nonexistent SHELL=/nonexistent PATH= $V", 3),
    ] {
        sandbox.ok(&format!("V=$(command -v vpcctl); {line} create-vpc v{number} 10.{number}.0.0/16 && {line} list && {line} inspect v{number}"));
    }
    // A directory that is gone.
    sandbox.ok("V=$(command -v vpcctl); mkdir $T/gone && cd $T/gone && rmdir $T/gone && $V create-vpc v4 10.4.0.0/16 && $V list");
    // Descriptors that are closed must not become the state's: nothing that is printed lands in a file of vpcctl's.
    for closed in ["<&-", ">&-", "2>&-", "<&- >&-", ">&- 2>&-", "<&- >&- 2>&-"] {
        let output = sandbox.run(&format!("vpcctl -v create-vpc v5 10.5.0.0/16 {closed}"));
        assert_eq!(output.code, 0, "{closed}: {}", output.report());
        sandbox.run(&format!("vpcctl -v inspect v5 {closed}; vpcctl delete-vpc nobody {closed}"));
        sandbox.ok("vpcctl list -o json | grep -q v5 && vpcctl delete-vpc v5");
        let odd = sandbox.ok(&format!("grep -L '^{{' {DIR}/state.json {DIR}/lock; ls {DIR}"));
        assert_eq!(odd, "lock\nstate.json\nvpcctl.log\n", "{closed}");
    }
}

#[test]
fn a_set_user_id_bit_lends_nothing() {
    let mut sandbox = Sandbox::new();
    for call in ["getuid", "getgid"] {
        let pretend = format!("strace -qq -o /dev/null -e trace={call} -e inject={call}:retval=1000");
        for command in [CREATE, "vpcctl list", "vpcctl --help", "vpcctl sandbox -- true"] {
            sandbox.fails(5, &format!("{pretend} {command}"), &["error: vpcctl was started by user", "chmod ug-s"]);
        }
    }
    sandbox.ok(&format!("test -z \"$(ls {DIR})\""));
}

/// As root of the host itself there are other users to try it with.
#[test]
fn another_user_is_lent_nothing_and_blocks_nothing() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let dir = tempfile::tempdir().expect("a directory");
    let program = dir.path().join("vpcctl");
    std::fs::copy(env!("CARGO_BIN_EXE_vpcctl"), &program).expect("a copy");
    let open = |path: &Path, mode| std::fs::set_permissions(path, Permissions::from_mode(mode)).expect("a mode");
    open(dir.path(), 0o755);
    open(&program, 0o4755);
    let lent = Command::new(&program).arg("list").uid(NOBODY).gid(NOBODY).output().expect("it starts");
    assert_eq!(lent.status.code(), Some(5), "{lent:?}");
    open(&program, 0o755);
    // The lock and the state, in the directory that `prepare` makes.
    let state = dir.path().join("state");
    let store = Store::new(&state);
    store.prepare().expect("it is made");
    let interrupted = AtomicBool::new(false);
    let take = || store.lock(&Wait { command: "x", timeout: Duration::ZERO, interrupted: &interrupted, note: &|_| {} });
    let lock = take().expect("nobody has it");
    store
        .begin(&lock, &Document::new("x", &State::default(), Default::default()))
        .and_then(|()| store.commit(&lock))
        .expect("it is written");
    drop(lock);
    for (dir_mode, name) in [(0o700, "lock"), (0o700, "state.json"), (0o755, "lock"), (0o755, "state.json")] {
        open(&state, dir_mode);
        let path = state.join(name);
        for line in ["flock -n \"$0\" true", "cat \"$0\""] {
            let tried = Command::new("sh").args(["-c", line]).arg(&path).uid(NOBODY).gid(NOBODY).output().expect("sh");
            assert!(!tried.status.success() && tried.stdout.is_empty(), "{dir_mode:o} {name}: {tried:?}");
        }
    }
    let listed = Command::new(&program).arg("--state-dir").arg(&state).arg("list").uid(NOBODY).gid(NOBODY).output();
    assert_eq!(listed.expect("it starts").status.code(), Some(5));
    take().expect("nobody has it still");
}

#[test]
fn a_missing_capability_is_named() {
    let mut sandbox = Sandbox::new();
    for (dropped, words) in [
        ("-net_admin", "CAP_NET_ADMIN missing"),
        ("-sys_admin", "CAP_SYS_ADMIN missing"),
        ("-net_admin,-sys_admin", "CAP_NET_ADMIN and CAP_SYS_ADMIN missing"),
    ] {
        let run = format!("setpriv --bounding-set {dropped} --inh-caps {dropped} vpcctl");
        let output = sandbox.fails(5, &format!("{run} create-vpc vpc1 10.0.0.0/16"), &[words, " hint: "]);
        assert_eq!(output.stderr.lines().count(), 2, "{}", output.report());
        sandbox.ok(&format!("test -z \"$(ls {DIR})\" && {run} --help && {run} --version && {run} list"));
    }
}

#[test]
fn settings_that_cannot_be_written_are_named_unless_they_are_right() {
    let mut sandbox = Sandbox::new();
    let read_only = "mount --bind /proc/sys /proc/sys && mount -o remount,bind,ro /proc/sys";
    let before = sandbox.dump().without(&["host/files", "host/processes", "host/mounts"]);
    sandbox.ok(read_only);
    sandbox.fails(1, CREATE, &["error: ", "net/", "Read-only file system"]);
    sandbox.ok("umount /proc/sys");
    before.assert_same(
        &sandbox.dump().without(&["host/files", "host/processes", "host/mounts"]),
        "settings that can't be written",
    );
    sandbox.add_vpc1();
    sandbox.ok(read_only);
    sandbox.says(CREATE, &["nothing changed"]);
    sandbox.ok("vpcctl enable-nat vpc1 && vpcctl restore && vpcctl peer --help");
}
