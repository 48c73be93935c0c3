//! What `watch` tells of real packets: who opens what, by name, and which rule stopped whom.

mod support;

use serde_json::Value;
use support::Sandbox;

/// Starts `watch` with these arguments, and waits until it listens. Its events go to `watch.out`, its end to `watch.code`.
fn watch(sandbox: &mut Sandbox, arguments: &str) {
    sandbox.ok("rm -f $T/watch.*");
    sandbox.ok(&format!(
        "{{ vpcctl watch {arguments} > $T/watch.out 2> $T/watch.err & echo $! > $T/watch.pid; wait $!; echo $? > $T/watch.code; }} \
         < /dev/null > /dev/null 2>&1 &"
    ));
    sandbox.wait_for_file("watch.err", |text| text.contains("watching "));
}

/// Waits until `watch` has ended, and returns its exit code.
fn code(sandbox: &mut Sandbox) -> String {
    sandbox.wait_for_file("watch.code", |text| text.ends_with('\n')).trim().to_owned()
}

/// Asks `watch` to end, and waits until it has.
fn end(sandbox: &mut Sandbox) {
    sandbox.ok("kill -INT $(cat $T/watch.pid)");
    assert_eq!(code(sandbox), "0");
}

/// The events of this kind, as `from -> to:port protocol`, or for drops `of: rule`.
fn told(text: &str, kind: &str) -> Vec<String> {
    let events = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let of_kind = events.filter(|event| event["event"] == kind);
    let words = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let line = |event: Value| match kind {
        "drop" => format!("{}: {}", words(&event["of"]), words(&event["rule"])),
        _ => {
            let (from, to) = (&event["from"], &event["to"]);
            let port = to["port"].as_u64().map(|port| format!(":{port}")).unwrap_or_default();
            let nat = if event["nat"] == true { " NAT" } else { "" };
            format!("{} -> {}{port} {}{nat}", words(&from["name"]), words(&to["name"]), words(&event["protocol"]))
        }
    };
    of_kind.map(line).collect()
}

/// Waits until an event of this kind says so.
fn wait_told(sandbox: &mut Sandbox, kind: &str, line: &str) -> Vec<String> {
    let text = sandbox.wait_for_file("watch.out", |text| told(text, kind).iter().any(|told| told.starts_with(line)));
    told(&text, kind)
}

#[test]
fn connections_have_the_names_of_their_ends() {
    let mut sandbox = Sandbox::with_vpc1();
    sandbox.ok("vpcctl create-vpc vpc2 10.1.0.0/16 && vpcctl add-subnet vpc2 app 10.1.1.0/24 && vpcctl peer vpc1 vpc2");
    sandbox.serve("vpc1-public", &[80]);
    sandbox.serve("vpc2-app", &[81]);
    watch(&mut sandbox, "-o json");
    sandbox.open("vpc1-private", &["tcp:10.0.1.2:80", "udp:10.0.1.2:80", "ping:10.0.1.2", "tcp:10.1.1.2:81"]);
    sandbox.ok("ip netns exec vpc1-public curl -s http://203.0.113.10");
    sandbox.ok("nc -z -w 5 10.0.1.2 80");
    for line in [
        "vpc1/private -> vpc1/public:80 tcp",
        "vpc1/private -> vpc1/public:80 udp",
        "vpc1/private -> vpc1/public icmp",
        "vpc1/private -> vpc2/app:81 tcp",
        "vpc1/public -> outside:80 tcp NAT",
        "host -> vpc1/public:80 tcp",
    ] {
        let all = wait_told(&mut sandbox, "new", line);
        assert_eq!(all.iter().filter(|told| *told == line).count(), 1, "once, though two routers know it: {all:?}");
    }
    end(&mut sandbox);
}

#[test]
fn the_end_of_a_connection_is_told_too() {
    let mut sandbox = Sandbox::with_vpc1();
    sandbox.ok("ip netns exec vpc1 sh -c 'echo 1 > /proc/sys/net/netfilter/nf_conntrack_icmp_timeout'");
    watch(&mut sandbox, "vpc1/public");
    sandbox.open("vpc1-private", &["ping:10.0.1.2"]);
    // Whoever asks for a list makes the kernel forget what is over.
    sandbox.wait_for("vpcctl watch -q --for 0 && grep -q '  end   icmp  vpc1/private 10.0.2.2 -> vpc1/public 10.0.1.2$' $T/watch.out");
    let text = sandbox.wait_for_file("watch.out", |text| {
        text.contains("  new   icmp  vpc1/private 10.0.2.2 -> vpc1/public 10.0.1.2\n")
    });
    assert_eq!(text.lines().count(), 2, "{text}");
    end(&mut sandbox);
}

#[test]
fn stopped_packets_have_the_name_of_their_rule() {
    let mut sandbox = Sandbox::with_vpc1();
    let policy = r#"{"ingress": [{"port": 80, "action": "allow"}, {"port": 22, "protocol": "tcp", "action": "deny", "description": "no ssh"}]}"#;
    let file = sandbox.file("policy.json", policy);
    sandbox.ok(&format!("vpcctl apply-policy vpc1/public {file}"));
    sandbox.closed("vpc1-private", &["tcp:10.0.1.2:22"]);
    watch(&mut sandbox, "-o json");
    sandbox.closed("vpc1-private", &["tcp:10.0.1.2:22", "tcp:10.0.1.2:23", "tcp:203.0.113.10:80"]);
    wait_told(&mut sandbox, "drop", "vpc1/public: ingress[1] deny: deny tcp port 22, 0.0.0.0/0 (no ssh)");
    wait_told(&mut sandbox, "drop", "vpc1/public: ingress default deny");
    wait_told(&mut sandbox, "drop", "vpc1 router: all else is refused at once");
    // What a VPC would open on the host is stopped there.
    sandbox.closed("vpc1-public", &["tcp:198.51.100.10:22"]);
    wait_told(&mut sandbox, "drop", "host: a VPC opens nothing on the host");
    end(&mut sandbox);
}

#[test]
fn what_was_stopped_before_is_not_told_again() {
    let mut sandbox = Sandbox::with_vpc1();
    sandbox.closed("vpc1-private", &["tcp:203.0.113.10:80"]);
    watch(&mut sandbox, "vpc1 -o json --for 3");
    assert_eq!(code(&mut sandbox), "0");
    let text = sandbox.wait_for_file("watch.out", |_| true);
    assert_eq!(told(&text, "drop"), Vec::<String>::new(), "{text}");
}

#[test]
fn only_what_was_asked_for_is_told_and_no_more_than_that() {
    let mut sandbox = Sandbox::with_vpc1();
    sandbox.ok("vpcctl add-instance vpc1/public/two");
    watch(&mut sandbox, "vpc1/public/two --count 2 -o json");
    sandbox.open("vpc1-private", &["ping:10.0.1.2", "ping:10.0.1.3"]);
    sandbox.open("vpc1-public-two", &["ping:10.0.2.2", "ping:10.0.1.2"]);
    assert_eq!(code(&mut sandbox), "0");
    let text = sandbox.wait_for_file("watch.out", |_| true);
    assert_eq!(text.lines().count(), 2, "{text}");
    assert!(told(&text, "new").iter().all(|line| line.contains("vpc1/public/two")), "{text}");
    sandbox.fails(3, "vpcctl watch vpc9", &["VPC `vpc9` does not exist"]);
}

#[test]
fn what_comes_is_watched_and_what_goes_is_let_go() {
    let mut sandbox = Sandbox::with_vpc1();
    watch(&mut sandbox, "-o json");
    sandbox.ok("vpcctl create-vpc vpc2 10.1.0.0/16 && vpcctl add-subnet vpc2 app 10.1.1.0/24");
    // Until it listens there, nobody knows what passes.
    sandbox.wait_for("ip netns exec vpc2-app ping -c 1 -W 1 10.1.1.1 && grep -q '\"vpc\":\"vpc2\"' $T/watch.out");
    sandbox
        .ok("vpcctl delete-vpc vpc2 && vpcctl delete-vpc vpc1 && vpcctl create-vpc vpc1 10.0.0.0/16 && vpcctl check");
    sandbox.ok("vpcctl add-subnet vpc1 new 10.0.7.0/24 && vpcctl add-instance vpc1/new/two");
    sandbox.wait_for("ip netns exec vpc1-new ping -c 1 -W 1 10.0.7.3 && grep -q 'vpc1/new/two' $T/watch.out");
    end(&mut sandbox);
    sandbox.ok("vpcctl check");
}

/// Runs `vpcctl watch` on a terminal of its own, writes down what that shows, and presses q once there is a file `keys`.
const TERMINAL: &str = r#"
import fcntl, os, pty, select, struct, sys, termios
pid, terminal = pty.fork()
if pid == 0:
    os.execvp("vpcctl", ["vpcctl", "watch"])
fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 100, 0, 0))
typed = False
with open("screen.out", "wb", buffering=0) as screen:
    while True:
        try:
            if select.select([terminal], [], [], 0.05)[0]:
                screen.write(os.read(terminal, 65536))
        except OSError:
            break
        if not typed and os.path.exists("keys"):
            typed = os.write(terminal, b"q") == 1
code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
with open("watch.code", "w") as file:
    file.write(f"{code}\n")
"#;

#[test]
fn a_terminal_shows_a_screen_that_q_ends() {
    let mut sandbox = Sandbox::with_vpc1();
    let script = sandbox.file("terminal.py", TERMINAL);
    sandbox.ok(&format!("cd $T && python3 {script} < /dev/null > /dev/null 2>&1 &"));
    sandbox.wait_for_file("screen.out", |text| text.contains("INSTANCE") && text.contains("LATEST"));
    sandbox.open("vpc1-private", &["ping:10.0.1.2"]);
    let screen = sandbox.wait_for_file("screen.out", |text| text.contains("new   icmp  vpc1/private"));
    assert!(screen.contains("vpc1/public   10.0.1.2"), "{screen}");
    sandbox.ok("touch $T/keys");
    assert_eq!(code(&mut sandbox), "0");
    let screen = sandbox.wait_for_file("screen.out", |_| true);
    assert!(screen.starts_with("\u{1b}[?1049h") && screen.ends_with("\u{1b}[?1049l"), "{screen:?}");
}
