//! Disturbs each command at each of the tools that it starts, and looks at what is left: exactly the old or the new state, in
//! the file and in the kernel.

use std::time::{Duration, Instant};

use super::Sandbox;
use super::cases::{Back, Case};
use super::dump::{Dump, QUICK};
use super::shim::Fault;

/// What must be closed is tried by this, once a fault has struck.
const LEAK: &str = include_str!("leak.py");

/// How long the kernel may take to let go of what was deleted.
const PATIENCE: Duration = Duration::from_secs(5);

/// Fails with `not-found`, and so does nothing but put right what another command left.
const NOBODY: &str = "vpcctl delete-vpc nobody";

/// Says how much it had to mend.
const RESTORE: &str = "vpcctl -o json restore";

/// So long a tool may take where one hangs.
const TOOL_TIMEOUT: &str = "0.4";

/// A sandbox in which the case's command can run, with shims in place of the tools.
pub struct Stage {
    pub sandbox: Sandbox,
    case: &'static Case,
    old: Look,
    new: Look,
    whole: Dump,
    /// How many tools the command starts.
    pub calls: usize,
    points: usize,
    /// How many kinds of fault were tried.
    kinds: usize,
}

/// What a state file and the kernel say, and the names of the files in the state directory.
struct Look {
    state: String,
    files: String,
    kernel: Dump,
}

/// What came of one point.
pub struct Point {
    what: String,
    pub code: i32,
    pub stderr: String,
    next: Next,
    next_code: i32,
    next_out: String,
    after: Look,
}

/// The command after the fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    /// None: the fault's command has put everything right itself.
    Nothing,
    /// One that fails.
    Nobody,
    /// One that finds nothing to do.
    Restore,
    /// The same one.
    Again,
    /// The one that takes back what the command does.
    Back(&'static str),
}

impl Stage {
    /// Runs the command once undisturbed, counts its calls, and goes back.
    pub fn new(case: &'static Case) -> Stage {
        let mut sandbox = Sandbox::new();
        case.files(&sandbox);
        sandbox.file("leak.py", LEAK);
        // Else its address would come some time after.
        sandbox.ok("echo 1 >/proc/sys/net/ipv6/conf/eth0/disable_ipv6");
        sandbox.install_shims();
        for command in case.before {
            sandbox.ok(command);
        }
        sandbox.ok("cp /var/lib/vpcctl/state.json $T/old.json 2>/dev/null; touch /var/lib/vpcctl/vpcctl.log /var/lib/vpcctl/lock");
        let (old, whole) = (look(&mut sandbox), whole(&mut sandbox));
        sandbox.ok(case.spoil);
        sandbox.fault(Fault::None);
        sandbox.ok(case.command);
        let calls = sandbox.calls().len();
        sandbox.ok("echo off >/run/shim/mode");
        let new = look(&mut sandbox);
        let mut stage = Stage { sandbox, case, old, new, whole, calls, points: 0, kinds: 0 };
        stage.go_back();
        stage.assert_watches();
        stage
    }

    /// The probe sees: what it may reach answers.
    fn assert_watches(&mut self) {
        if self.case.watch.is_empty() {
            return;
        }
        let seen = self.sandbox.ok(&format!("/usr/bin/python3 -SE $T/leak.py {}", self.case.watch));
        let namespaces = self.case.watch.split(" -- ").count();
        assert!(seen.matches("control ").count() == namespaces && !seen.contains("open "), "{seen}");
    }

    fn go_back(&mut self) {
        let command = match self.case.back {
            Back::Undo(command) | Back::Run(command) => command,
            Back::Restore => "cp $T/old.json /var/lib/vpcctl/state.json && vpcctl restore",
        };
        self.sandbox.ok(command);
    }

    /// Where the next kind of fault strikes: at each tool. Where all of the network is made anew at each point, the kinds take turns
    /// at every second tool.
    fn places(&mut self) -> impl Iterator<Item = usize> + use<> {
        self.kinds += 1;
        let step = if self.case.spoil.is_empty() { 1 } else { 2 };
        (1 + self.kinds % step..=self.calls).step_by(step)
    }

    /// Disturbs the command in this way, runs another after it, and looks.
    #[track_caller]
    fn point(&mut self, fault: Fault, next: Next) -> Point {
        self.points += 1;
        let Case { command, spoil, watch, .. } = self.case;
        let what = format!("`{command}`, {fault:?} of {}, then {next:?}", self.calls);
        let (leak, mode) = (format!("/usr/bin/python3 -SE $T/leak.py {watch}"), fault.mode());
        let leak = if watch.is_empty() { "true" } else { &leak };
        let timeout = match fault {
            Fault::Hangs(_) | Fault::HangsAfter(_) => format!("export VPCCTL_TOOL_TIMEOUT={TOOL_TIMEOUT};"),
            _ => String::new(),
        };
        self.sandbox.ok(&format!(
            "{spoil}
             rm -f /run/shim/calls/*; echo {mode} >/run/shim/mode
             ({timeout} {command}) >$T/first.out 2>$T/first.err; echo $? >$T/first.code
             echo off >/run/shim/mode
             {leak} >$T/leaks
             ({}) >$T/next.out 2>$T/next.err; echo $? >$T/next.code
             {LOOK}",
            next.command(self.case)
        ));
        let (code, stderr) = (self.number("first.code"), self.text("first.err"));
        let leaks = self.text("leaks");
        assert!(!leaks.contains("open "), "{what}: isolation is gone\n{leaks}\n{stderr}");
        let (next_code, next_out) = (self.number("next.code"), self.text("next.out") + &self.text("next.err"));
        let after = self.seen();
        Point { what, code, stderr, next, next_code, next_out, after }
    }

    /// Is what there is exactly the old or exactly the new state, and the next command's result what it has to be?
    #[track_caller]
    fn assert_whole(&mut self, point: Point) -> Point {
        let Point { what, code, stderr, next, next_code, next_out, after } = point;
        let talk = format!("exit code {code}\n{stderr}--- next: {next_code}\n{next_out}");
        let (is_old, is_new) = (self.is_old(&after), self.is_new(&after));
        assert!(is_old || is_new, "{what}: the state is {}\n{talk}", after.state);
        assert_eq!(after.files, self.new.files, "{what}: files of the state directory\n{talk}");
        let expected = if is_old { &self.old.kernel } else { &self.new.kernel };
        let deadline = Instant::now() + PATIENCE;
        let mut after = after;
        // The kernel lets go of some things a moment after they were deleted.
        while *expected != after.kernel && Instant::now() < deadline {
            after = look(&mut self.sandbox);
        }
        let difference = expected.difference(&after.kernel);
        let difference = difference.join("\n");
        let holds = difference.is_empty();
        self.sandbox.assert(holds, &format!("{what}: the kernel isn't what the state says\n{difference}\n{talk}"));
        let nothing_mended = next_code == 0 && next_out.contains(r#""mended": 0"#);
        let holds = match next {
            Next::Nothing => true,
            Next::Nobody => next_code == 3,
            Next::Restore => nothing_mended,
            // What is gone for good can't go again.
            Next::Again => matches!(next_code, 0 | 3) && is_new,
            Next::Back(_) => matches!(next_code, 0 | 3) && is_old,
        };
        self.sandbox.assert(holds, &format!("{what}: that ended otherwise than it should\n{talk}"));
        if is_new && !is_old {
            self.go_back();
        }
        Point { what, code, stderr, next, next_code, next_out, after }
    }

    fn is_old(&self, look: &Look) -> bool {
        same_network(&look.state, &self.old.state)
    }

    fn is_new(&self, look: &Look) -> bool {
        same_network(&look.state, &self.new.state)
    }

    /// The next command: another one from point to point.
    fn next(&self, n: usize) -> Next {
        match (self.case.spoil, n % 4, self.case.back) {
            ("", 0, _) => Next::Nobody,
            ("", 1, Back::Undo(command)) => Next::Back(command),
            ("", 2, _) => Next::Again,
            ("", ..) => Next::Restore,
            // What was spoiled is not the affair of just any command.
            _ => Next::Again,
        }
    }

    /// vpcctl is killed at each call: the next command, whatever it is, ends in the old or the new state.
    pub fn is_killed(&mut self, fault: fn(usize) -> Fault, shift: usize) {
        for n in self.places() {
            let point = self.point(fault(n), self.next(n + shift));
            assert_eq!(point.code, 137, "{}\n{}", point.what, point.stderr);
            self.assert_whole(point);
        }
    }

    /// A tool fails at each call: the command fails and says where, and all is as it was; or it has found a way.
    pub fn fails(&mut self, fault: fn(usize) -> Fault, words: &str) {
        for n in self.places() {
            // To find nothing to mend is as good as to look.
            let next = if self.case.spoil.is_empty() && n % 2 == 0 { Next::Restore } else { Next::Nothing };
            let next = if self.case.spoil.is_empty() { next } else { Next::Again };
            let point = self.point(fault(n), next);
            let Point { what, code, stderr, .. } = &point;
            assert!(matches!(code, 0 | 1 | 6 | 130), "{what}: exit code {code}\n{stderr}");
            if *code == 1 || *code == 6 {
                let call = self.sandbox.ok(&format!("cat /run/shim/calls/{n}"));
                let tool = call.split(' ').next().unwrap_or_default();
                assert!(stderr.contains("error: ") && stderr.contains("hint: "), "{what}\n{stderr}");
                assert!(stderr.contains(words), "{what}: `{words}` is not said\n{stderr}");
                assert!(stderr.contains('`') || stderr.contains("host"), "{what}: no object is named\n{stderr}");
                assert!(stderr.contains(tool) || stderr.contains("app"), "{what}: `{tool}` is not named\n{stderr}");
            }
            let point = self.assert_whole(point);
            if self.case.spoil.is_empty() {
                let reached = if point.code == 0 { self.is_new(&point.after) } else { self.is_old(&point.after) };
                assert!(reached, "{}: exit code {} and {}", point.what, point.code, point.after.state);
            }
        }
    }

    /// As [`Stage::fails`], where undoing may fail as well.
    pub fn fails_for_good(&mut self, fault: fn(usize) -> Fault, shift: usize) {
        for n in self.places() {
            let point = self.point(fault(n), self.next(n + shift));
            let Point { what, code, stderr, .. } = &point;
            assert!(matches!(code, 0 | 1 | 6), "{what}: exit code {code}\n{stderr}");
            self.assert_whole(point);
        }
    }

    /// A signal at each call: the command is undone, or was done by then, and says which.
    pub fn is_asked_to_end(&mut self, fault: fn(usize) -> Fault) {
        for n in self.places() {
            let point = self.point(fault(n), if self.case.spoil.is_empty() { Next::Nothing } else { Next::Again });
            assert_eq!(point.code, 130, "{}\n{}", point.what, point.stderr);
            self.assert_whole(point);
        }
    }

    /// After all that, nothing at all differs from what there was, and the command does its work.
    pub fn end(mut self) {
        let difference = self.whole.difference(&whole(&mut self.sandbox));
        assert!(difference.is_empty(), "`{}`: in the end\n{}", self.case.command, difference.join("\n"));
        self.sandbox.ok(self.case.spoil);
        self.sandbox.ok(self.case.command);
        let after = look(&mut self.sandbox);
        assert!(self.is_new(&after), "{}", after.state);
        println!("`{}`: {} calls, {} points", self.case.command, self.calls, self.points);
    }

    fn text(&self, name: &str) -> String {
        std::fs::read_to_string(self.sandbox.dir().join(name)).unwrap_or_default()
    }

    fn number(&self, name: &str) -> i32 {
        self.text(name).trim().parse().unwrap_or_else(|_| panic!("`{name}` holds no number"))
    }

    fn seen(&self) -> Look {
        seen(&self.sandbox)
    }
}

impl Next {
    fn command(self, case: &Case) -> &'static str {
        match self {
            Next::Nothing => "true",
            Next::Nobody => NOBODY,
            Next::Restore => RESTORE,
            Next::Again => case.command,
            Next::Back(command) => command,
        }
    }
}

/// Writes what a look is made of; needs `quick.sh`, the script for one place.
const LOOK: &str = "cat /var/lib/vpcctl/state.json >$T/look.state 2>/dev/null; ls /var/lib/vpcctl >$T/look.files
    PATH=/run/real:$PATH; export PATH
    { echo '@@ host'; . $T/quick.sh
      echo '== namespaces'; ls /run/netns
      echo '== processes'; for f in /proc/[0-9]*/comm; do read name <$f && echo $name; done 2>/dev/null
      for netns in $(cd /run/netns; ls | grep -v internet); do
          echo \"@@ $netns\"; nsenter --net=/run/netns/$netns sh $T/quick.sh
      done; } >$T/look.kernel; true";

fn look(sandbox: &mut Sandbox) -> Look {
    sandbox.file("quick.sh", QUICK);
    sandbox.ok(LOOK);
    seen(sandbox)
}

fn seen(sandbox: &Sandbox) -> Look {
    let text = |name: &str| std::fs::read_to_string(sandbox.dir().join(name)).unwrap_or_default();
    let files = text("look.files").lines().filter(|name| !matches!(*name, "state.json" | "apps")).collect();
    Look { state: text("look.state"), files, kernel: Dump::of_places(&text("look.kernel")) }
}

/// All that there is to be seen, at some cost.
fn whole(sandbox: &mut Sandbox) -> Dump {
    // The shims leave nothing; the state directory is not part of the kernel.
    sandbox.dump().without(&["host/files", "host/mounts"])
}

/// Are two state files about the same network? They name the command that wrote them, which differs.
pub fn same_network(one: &str, other: &str) -> bool {
    let network =
        |text: &str| serde_json::from_str::<serde_json::Value>(text).ok().map(|value| value["network"].clone());
    let (one, other) = (network(one), network(other));
    let empty = |value: &Option<serde_json::Value>| {
        value.as_ref().is_none_or(|network| network["vpcs"].as_object().is_none_or(|vpcs| vpcs.is_empty()))
    };
    one == other || (empty(&one) && empty(&other))
}
