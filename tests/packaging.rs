//! What `make install` puts in place, and what works there: files, completion in bash, the unit. With the program of the
//! tests: nothing is built.

#![allow(clippy::unwrap_used, reason = "a test that fails may panic")]

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use clap::CommandFactory;
use tempfile::TempDir;

use vpcctl::cli::Cli;
use vpcctl::store::{Store, Wait};

const VPCCTL: &str = env!("CARGO_BIN_EXE_vpcctl");

/// `make TARGET` for a directory of its own, as a package would be made.
fn make(target: &str, root: &Path) {
    let mut make = Command::new("make");
    make.args(["--no-print-directory", target, "PREFIX=/usr", &format!("DESTDIR={}", root.display())]);
    output(make.current_dir(env!("CARGO_MANIFEST_DIR")).env("VPCCTL_BIN", VPCCTL).env_remove("MAKEFLAGS"));
}

fn installed() -> TempDir {
    let root = TempDir::new().unwrap();
    make("install", root.path());
    root
}

/// Every file below a directory, as a path from there.
fn files(root: &Path) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut dirs = vec![root.to_owned()];
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(dir).unwrap().map(Result::unwrap) {
            match entry.file_type().unwrap().is_dir() {
                true => dirs.push(entry.path()),
                false => drop(found.insert(entry.path().strip_prefix(root).unwrap().display().to_string())),
            }
        }
    }
    found
}

#[test]
fn install_puts_everything_in_its_place() {
    let root = installed();
    let mut expected: BTreeSet<String> = [
        "bin/vpcctl",
        "lib/systemd/system/vpcctl.service",
        "share/bash-completion/completions/vpcctl",
        "share/fish/vendor_completions.d/vpcctl.fish",
        "share/zsh/site-functions/_vpcctl",
        "share/man/man1/vpcctl.1",
        "share/vpcctl/installed",
        "share/vpcctl/output.schema.json",
        "share/vpcctl/policy.schema.json",
        "share/vpcctl/state.schema.json",
        "share/vpcctl/topology.schema.json",
        "share/doc/vpcctl/CHANGELOG.md",
        "share/doc/vpcctl/LICENSE-APACHE",
        "share/doc/vpcctl/LICENSE-MIT",
        "share/doc/vpcctl/README.md",
        "share/doc/vpcctl/reference.md",
    ]
    .map(|path| format!("usr/{path}"))
    .into();
    let program = Cli::command();
    let visible = program.get_subcommands().filter(|command| !command.is_hide_set());
    expected.extend(visible.map(|command| format!("usr/share/man/man1/vpcctl-{}.1", command.get_name())));
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let policies = files(&here.join("policies"));
    assert!(!policies.is_empty());
    expected.extend(policies.into_iter().map(|policy| format!("usr/share/doc/vpcctl/examples/{policy}")));
    if here.join("scripts/cleanup.sh").exists() {
        expected.insert("usr/share/vpcctl/cleanup.sh".into());
    }
    assert_eq!(files(root.path()), expected);
    for path in expected {
        let mode = fs::metadata(root.path().join(&path)).unwrap().permissions().mode() & 0o777;
        let runs = path == "usr/bin/vpcctl" || path.ends_with(".sh");
        assert_eq!(mode, if runs { 0o755 } else { 0o644 }, "{path}");
    }
    let unit = fs::read_to_string(root.path().join("usr/lib/systemd/system/vpcctl.service")).unwrap();
    assert!(unit.contains("\nExecStart=/usr/bin/vpcctl restore\n"), "{unit}");
}

#[test]
fn uninstall_removes_what_install_put_and_nothing_else() {
    let root = installed();
    make("uninstall", root.path());
    assert_eq!(files(root.path()), BTreeSet::new());
    let doc = root.path().join("usr/share/doc");
    assert!(doc.is_dir() && !doc.join("vpcctl").exists(), "only vpcctl's own directories go");

    make("install", root.path());
    let other = "usr/share/doc/vpcctl/notes.txt";
    fs::write(root.path().join(other), "somebody else's").unwrap();
    make("uninstall", root.path());
    assert_eq!(files(root.path()), BTreeSet::from([other.to_owned()]));
    make("uninstall", root.path());
}

#[test]
fn a_newer_install_takes_away_what_it_has_no_more() {
    let root = installed();
    let before = files(root.path());
    let old = "/usr/share/man/man1/vpcctl-gone.1";
    let list = root.path().join("usr/share/vpcctl/installed");
    fs::write(root.path().join(&old[1..]), "").unwrap();
    fs::write(&list, fs::read_to_string(&list).unwrap() + old + "\n").unwrap();
    make("install", root.path());
    assert_eq!(files(root.path()), before);
}

#[test]
fn a_debian_package_has_what_is_installed_and_says_what_it_needs() {
    let work = TempDir::new().unwrap();
    let stripped = work.path().join("vpcctl");
    output(Command::new("strip").arg("-o").arg(&stripped).arg(VPCCTL));
    let mut deb = Command::new("make");
    deb.args(["--no-print-directory", "deb"]).current_dir(env!("CARGO_MANIFEST_DIR")).env_remove("MAKEFLAGS");
    deb.env("VPCCTL_BIN", &stripped).env("CARGO_TARGET_DIR", work.path()).env("DEBEMAIL", "somebody@example.com");
    let package = output(&mut deb);
    let package = package.trim_end();
    let version = env!("CARGO_PKG_VERSION");
    assert!(package.contains(&format!("/debian/vpcctl_{version}_")), "{package}");

    let unpacked = work.path().join("unpacked");
    output(Command::new("dpkg-deb").args(["--raw-extract", package]).arg(&unpacked));
    output(Command::new("md5sum").args(["--check", "--quiet", "DEBIAN/md5sums"]).current_dir(&unpacked));
    let control = fs::read_to_string(unpacked.join("DEBIAN/control")).unwrap();
    assert!(control.contains("\nMaintainer: the vpcctl authors <somebody@example.com>\n"), "{control}");
    let (_, depends) = control.split_once("\nDepends: libc6 (>= 2.").expect(&control);
    for tool in ["iproute2", "iptables", "ipset"] {
        assert!(depends.lines().next().unwrap().contains(&format!(", {tool}")), "{depends}");
    }
    for script in ["postinst", "prerm", "postrm"] {
        output(Command::new("sh").arg("-n").arg(unpacked.join("DEBIAN").join(script)));
    }
    // The same files, where Debian has them.
    let places = [
        ("share/zsh/site-functions/", "share/zsh/vendor-completions/"),
        ("share/doc/vpcctl/LICENSE-APACHE", "share/doc/vpcctl/copyright"),
        ("share/doc/vpcctl/LICENSE-MIT", "share/doc/vpcctl/changelog.gz"),
    ];
    let debian = |path: String| {
        let path = places.iter().fold(path, |path, (ours, theirs)| path.replace(ours, theirs));
        if path.ends_with(".1") { path + ".gz" } else { path }
    };
    let mut expected: BTreeSet<String> = files(installed().path()).into_iter().map(debian).collect();
    expected.remove("usr/share/vpcctl/installed");
    let usr = files(&unpacked.join("usr")).into_iter().map(|path| format!("usr/{path}"));
    assert_eq!(usr.collect::<BTreeSet<_>>(), expected);
}

/// What a command prints, if it succeeds.
fn output(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// An installed vpcctl and a state directory with a few VPCs.
struct Shell {
    root: TempDir,
    state: PathBuf,
}

impl Shell {
    fn new() -> Self {
        let root = installed();
        let state = root.path().join("state");
        Store::new(&state).prepare().unwrap();
        fs::write(state.join("state.json"), include_str!("support/state.json")).unwrap();
        Shell { root, state }
    }

    /// What bash offers for the last of these words.
    fn bash(&self, words: &[&str]) -> Vec<String> {
        let script = r#"
            source "$ROOT/usr/share/bash-completion/completions/vpcctl"
            [[ $(complete -p vpcctl) == *' -F _clap_complete_vpcctl vpcctl' ]] || exit 3
            COMP_WORDS=("$@") COMP_CWORD=$(($# - 1)) COMP_TYPE=9
            _clap_complete_vpcctl vpcctl "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}"
            ((${#COMPREPLY[@]} == 0)) || printf '%s\n' "${COMPREPLY[@]}"
        "#;
        let mut command = self.command("bash");
        command.args(["--norc", "-c", script, "bash", "vpcctl"]).args(words);
        lines(command)
    }

    /// What the program answers to another shell.
    fn asked_by(&self, shell: &str, words: &[&str]) -> Vec<String> {
        let mut command = self.command("vpcctl");
        command.env("COMPLETE", shell).env("_CLAP_COMPLETE_INDEX", words.len().to_string()).env("_CLAP_IFS", "\n");
        command.args(["--", "vpcctl"]).args(words);
        lines(command)
    }

    fn command(&self, program: &str) -> Command {
        let bin = self.root.path().join("usr/bin");
        let mut command = Command::new(program);
        command
            .env("PATH", format!("{}:{}", bin.display(), std::env::var("PATH").unwrap()))
            .env("ROOT", self.root.path())
            .env("VPCCTL_STATE_DIR", &self.state)
            .current_dir(env!("CARGO_MANIFEST_DIR"));
        command
    }
}

fn lines(mut command: Command) -> Vec<String> {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}

#[test]
fn bash_completes_the_names_there_are() {
    let shell = Shell::new();
    let cases: [(&[&str], &[&str]); 16] = [
        (&["cre"], &["create-vpc"]),
        (&["inspect", "v"], &["vpc1", "vpc2"]),
        (&["peer", "vpc1", "vpc"], &["vpc1", "vpc2"]),
        (&["exec", "vpc1/"], &["vpc1/private", "vpc1/public"]),
        (&["exec", "vpc1/pub"], &["vpc1/public", "vpc1/public/web2"]),
        (&["exec", "vpc2"], &["vpc2", "vpc2/app"]),
        (&["remove-policy", "v"], &["vpc1/", "vpc2/"]),
        (&["remove-policy", "vpc1", "p"], &["private", "public"]),
        (&["remove-policy", "--dry-run", "vpc1", "public", "w"], &["web2"]),
        (&["apply-policy", "vpc1/public", "policies/w"], &["policies/web.json"]),
        (&["add-subnet", "v"], &["vpc1", "vpc2"]),
        (&["add-instance", "vpc2"], &["vpc2/app/"]),
        (&["enable-nat", "--vpc", "vpc1", "--subnet", "pu"], &["public"]),
        (&["delete-subnet", "--vpc", "vpc2", "--name", ""], &["app"]),
        (&["list", "--output", "j"], &["json"]),
        (&["exec", "nosuch/"], &[]),
    ];
    for (words, offered) in cases {
        assert_eq!(shell.bash(words), offered, "{words:?}");
    }
}

#[test]
fn zsh_and_fish_get_the_same_names() {
    let shell = Shell::new();
    for name in ["zsh", "fish"] {
        assert_eq!(shell.asked_by(name, &["exec", "vpc1/"]), ["vpc1/private", "vpc1/public"], "{name}");
    }
    let script = |path: &str| fs::read_to_string(shell.root.path().join("usr/share").join(path)).unwrap();
    let zsh = script("zsh/site-functions/_vpcctl");
    assert!(zsh.starts_with("#compdef vpcctl\n") && zsh.contains("COMPLETE=\"zsh\""), "{zsh}");
    let fish = script("fish/vendor_completions.d/vpcctl.fish");
    assert!(fish.starts_with("complete ") && fish.contains("COMPLETE=fish vpcctl --"), "{fish}");
}

#[test]
fn completion_waits_for_nobody_and_leaves_nothing() {
    let shell = Shell::new();
    let store = Store::new(&shell.state);
    let _lock = store
        .lock(&Wait { command: "test", timeout: Duration::ZERO, interrupted: &AtomicBool::new(false), note: &|_| {} })
        .unwrap();
    let before = files(&shell.state);
    assert_eq!(shell.bash(&["inspect", "v"]), ["vpc1", "vpc2"]);
    assert_eq!(files(&shell.state), before);
    // A state that can't be read is no reason to speak, nor is a directory that isn't there.
    fs::write(shell.state.join("state.json"), "{").unwrap();
    assert_eq!(shell.bash(&["inspect", "nosuch"]), [""; 0]);
    fs::remove_dir_all(&shell.state).unwrap();
    assert_eq!(shell.bash(&["inspect", "v"]), [""; 0]);
    assert!(!shell.state.exists());
}

#[test]
fn completion_starts_no_process() {
    let shell = Shell::new();
    let trace = shell.root.path().join("trace");
    let mut command = shell.command("strace");
    command.args(["-f", "-qq", "-e", "trace=execve,fork,vfork,clone,clone3", "-e", "signal=none", "-o"]).arg(&trace);
    command.args([VPCCTL, "--", "vpcctl", "inspect", "v"]).env("COMPLETE", "bash").env("_CLAP_COMPLETE_INDEX", "2");
    assert_eq!(lines(command), ["vpc1", "vpc2"]);
    let trace = fs::read_to_string(trace).unwrap();
    assert_eq!(trace.lines().count(), 1, "{trace}");
}

#[test]
fn namespaces_tell_the_names_to_who_may_not_read_the_state() {
    let script = r#"
        for name in vpc1 vpc1-public vpc1-public-web2 vpc2 vpc2-app mine; do ip netns add $name; done
        export COMPLETE=bash _CLAP_COMPLETE_INDEX=2
        # A state directory below a file is as unreadable as one that is root's alone.
        for word in '' vpc1/public; do VPCCTL_STATE_DIR=/etc/hosts/x vpcctl -- vpcctl exec "$word"; echo; done
        VPCCTL_STATE_DIR=/nonexistent vpcctl -- vpcctl exec v
    "#;
    let mut command = Command::new(VPCCTL);
    command.args(["sandbox", "--", "bash", "-c", script]).env("_CLAP_IFS", "\n");
    let found = lines(command);
    let named: Vec<&str> = found.iter().map(String::as_str).filter(|line| !line.starts_with('-')).collect();
    assert_eq!(named, ["vpc1", "vpc2", "vpc1/public", "vpc1/public/web2"]);
}

#[test]
fn a_variable_that_names_no_shell_changes_nothing() {
    let shell = Shell::new();
    let mut command = shell.command("vpcctl");
    command.env("COMPLETE", "1").args(["list", "-o", "json"]);
    assert!(lines(command).join("").contains("\"vpc1\""));
}
