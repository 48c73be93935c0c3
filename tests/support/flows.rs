//! Flows of every kind between two namespaces, and whether a change cut them.

use std::time::{Duration, Instant};

use super::Sandbox;

const FLOWS: &str = include_str!("flows.py");

/// Where it is on Debian, Ubuntu and Fedora.
const RUN: &str = "/usr/bin/python3 -SE $T/flows.py";

/// How long after a change flows may still be heard.
const LIMIT: Duration = Duration::from_secs(1);

/// How long flows that send every 10 ms have to be silent to count as cut.
const SILENCE: Duration = Duration::from_millis(300);

const PACE: Duration = Duration::from_millis(5);

/// The ports of the servers: an echo, and from here on one that only listens and one that only talks.
const ECHO: u16 = 7000;
const SINK: u16 = 7001;
const SOURCE: u16 = 7002;

/// Every kind of flow from a client to a server.
pub struct Flows {
    /// Whose output grows as long as they flow.
    names: Vec<String>,
    /// A connection that nobody used so far: its process and the name of its output.
    idle: (u32, String),
}

impl Sandbox {
    /// Starts `flows.py` in a namespace, and waits until it is ready.
    #[track_caller]
    pub fn flow(&mut self, netns: &str, name: &str, arguments: &str) -> u32 {
        self.file("flows.py", FLOWS);
        let pid = self.start(netns, name, &format!("{RUN} {arguments}"));
        self.wait_for_file(&format!("{name}.out"), |out| {
            assert!(!out.contains("Error"), "{arguments} in {netns}:\n{out}");
            out.contains("ready\n")
        });
        pid
    }

    /// Serves every kind of flow in a namespace.
    #[track_caller]
    pub fn serve_flows(&mut self, netns: &str) {
        self.serve(netns, &[ECHO]);
        self.flow(netns, &format!("sink-{netns}"), &format!("serve {SINK}"));
    }

    /// Opens every kind of flow: both sides talk, only the client, only the server, nobody; by TCP and UDP.
    #[track_caller]
    pub fn open_flows(&mut self, client: &str, server: &str, address: &str) -> Flows {
        let named = |what: &str| format!("{what}-{client}-{server}");
        let mut names = Vec::new();
        for kind in ["tcp", "udp"] {
            let (echo, push, pull) =
                (named(&format!("echo-{kind}")), named(&format!("push-{kind}")), named(&format!("pull-{kind}")));
            self.stream(client, kind, &format!("{address}:{ECHO}"), &echo);
            self.flow(client, &push, &format!("push {kind} {address} {SINK}"));
            self.flow(client, &pull, &format!("pull {kind} {address} {SOURCE}"));
            names.extend([echo, pull]);
            names.push(format!("sink-{server}"));
        }
        let idle = named("idle");
        let pid = self.flow(client, &idle, &format!("idle {address} {ECHO}"));
        names.iter().for_each(|name| self.assert_flowing(name));
        Flows { names, idle: (pid, idle) }
    }

    /// All of them still flow.
    #[track_caller]
    pub fn assert_spared(&mut self, flows: &Flows) {
        flows.names.iter().for_each(|name| self.assert_flowing(name));
        assert_eq!(self.use_idle(flows), "answer");
    }

    /// Within a second all of them are silent, and stay so.
    #[track_caller]
    pub fn assert_cut(&mut self, flows: &Flows) {
        let counted = |sandbox: &Sandbox| flows.names.iter().map(|name| sandbox.answers(name)).collect::<Vec<_>>();
        let changed = Instant::now();
        let (mut counts, mut since) = (counted(self), changed);
        while since.elapsed() < SILENCE {
            let now = counted(self);
            if now != counts {
                let late = changed.elapsed() < LIMIT;
                self.assert(late, &format!("{:?} still flow: {counts:?}, then {now:?}", flows.names));
                (counts, since) = (now, Instant::now());
            }
            std::thread::sleep(PACE);
        }
        assert_eq!(self.use_idle(flows), "nothing");
    }

    #[track_caller]
    fn use_idle(&mut self, flows: &Flows) -> String {
        let (pid, name) = &flows.idle;
        self.ok(&format!("kill -USR1 {pid}"));
        let out = self.wait_for_file(&format!("{name}.out"), |out| out.lines().count() > 1);
        out.lines().last().unwrap_or_default().to_owned()
    }
}
