//! The scripts that operators run: the story, and the quick check of a machine.

mod support;

use support::Sandbox;

/// Where the scripts are.
const SCRIPTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts");

#[test]
fn the_demo_is_as_it_should_be_and_leaves_nothing() {
    let mut sandbox = Sandbox::new();
    let before = sandbox.dump_host();
    let story = sandbox.ok(&format!("{SCRIPTS}/demo.sh"));
    assert!(story.contains("All is as it should be"), "{story}");
    assert!(!story.contains("Skipped"), "in a sandbox every step is told: {story}");
    before.assert_same(&sandbox.dump_host(), "before and after the demo");
}

#[test]
fn the_smoke_test_is_quiet_and_leaves_nothing() {
    let mut sandbox = Sandbox::new();
    let before = sandbox.dump_host();
    let output = sandbox.expect(0, &format!("{SCRIPTS}/smoke.sh"));
    assert_eq!((output.stdout.lines().count(), output.stderr.as_str()), (1, ""), "{}", output.report());
    before.assert_same(&sandbox.dump_host(), "before and after the smoke test");
}

#[test]
fn neither_believes_a_vpcctl_that_does_nothing() {
    let mut sandbox = Sandbox::new();
    sandbox
        .ok("mkdir $T/bin && printf '#!/bin/sh\\ntest \"$1\" != inspect\\n' >$T/bin/vpcctl && chmod +x $T/bin/vpcctl");
    sandbox.fails(1, &format!("PATH=$T/bin:$PATH {SCRIPTS}/smoke.sh"), &["FAIL", "VPCs do not"]);
    let story = sandbox.expect(1, &format!("PATH=$T/bin:$PATH {SCRIPTS}/demo.sh"));
    assert!(story.stdout.contains("NOT as it should be"), "{}", story.report());
}

#[test]
fn the_smoke_test_names_what_does_not_hold() {
    let mut sandbox = Sandbox::new();
    // One that never separates what it has connected.
    let shim = "#!/bin/sh\ncase \" $* \" in *' unpeer '*) exit 0 ;; esac\nexec /run/vpcctl-sandbox/bin/vpcctl \"$@\"\n";
    let path = sandbox.file("shim", shim);
    sandbox.ok(&format!("mkdir $T/bin && mv {path} $T/bin/vpcctl && chmod +x $T/bin/vpcctl"));
    let output = sandbox.fails(1, &format!("PATH=$T/bin:$PATH {SCRIPTS}/smoke.sh"), &["FAIL  and its end separates"]);
    assert_eq!(output.stderr.matches("FAIL").count(), 1, "{}", output.report());
}
