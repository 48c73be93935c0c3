//! Attackers, and ears that hear which of their frames arrive where.

use std::collections::BTreeSet;

use super::Sandbox;

const ATTACKS: &str = include_str!("attacks.py");

/// Where it is on Debian, Ubuntu and Fedora.
const ATTACK: &str = "/usr/bin/python3 -SE $T/attacks.py";

/// What begins each line about a frame that bears no attack's name.
const OTHER: &str = "other ";

/// A listener in a namespace.
pub struct Ear {
    name: String,
    heralds: usize,
}

/// The names of attacks, in order.
pub type Names = BTreeSet<String>;

impl Sandbox {
    /// Listens in a namespace, by `hear INTERFACE…` for every frame or by `listen PORT…` for what UDP sockets receive.
    #[track_caller]
    pub fn ear(&mut self, netns: &str, listening: &str) -> Ear {
        self.file("attacks.py", ATTACKS);
        let name = format!("ear-{netns}-{}", listening.replace(' ', "-"));
        self.start(netns, &name, &format!("{ATTACK} {listening}"));
        self.wait_for_file(&format!("{name}.out"), |out| {
            assert!(!out.contains("Error"), "{name}:\n{out}");
            out.contains("ready\n")
        });
        Ear { name, heralds: 0 }
    }

    /// Sends every frame of a theme from a namespace, and returns the names of its attacks.
    #[track_caller]
    pub fn attack(&mut self, netns: &str, theme: &str, settings: &str) -> Names {
        self.file("attacks.py", ATTACKS);
        let enter = if netns == "host" { String::new() } else { format!("ip netns exec {netns} ") };
        let sent = self.ok(&format!("{enter}{ATTACK} send {theme} {settings}"));
        sent.lines().skip(1).map(str::to_owned).collect()
    }

    /// Goes on with a theme's frames for many seconds, in the background; returns the process.
    #[track_caller]
    pub fn keep_attacking(&mut self, netns: &str, theme: &str, settings: &str) -> u32 {
        self.file("attacks.py", ATTACKS);
        let name = format!("attack-{netns}-{theme}");
        let pid = self.start(netns, &name, &format!("{ATTACK} send {theme} seconds=100 {settings}"));
        self.wait_for_file(&format!("{name}.out"), |out| out.contains("ready\n"));
        pid
    }

    /// The attacks heard so far. What an honest sender sends after them, to this address, has arrived: then so have they, or
    /// never will.
    #[track_caller]
    pub fn heard(&mut self, ear: &mut Ear, from: &str, address: &str) -> Names {
        let all = self.lines_heard(ear, from, address, 4000);
        all.into_iter().filter(|line| !line.starts_with(OTHER) && !line.starts_with("herald")).collect()
    }

    /// What was heard besides attacks, by kind, sender and receiver.
    #[track_caller]
    pub fn overheard(&mut self, ear: &mut Ear, from: &str, address: &str) -> Names {
        let all = self.lines_heard(ear, from, address, 4000);
        all.into_iter().filter_map(|line| line.strip_prefix(OTHER).map(str::to_owned)).collect()
    }

    /// The attacks that UDP sockets received so far, each with its port; `port` is one that honest senders may use.
    #[track_caller]
    pub fn heard_by_port(&mut self, ear: &mut Ear, from: &str, address: &str, port: u16) -> Names {
        let all = self.lines_heard(ear, from, address, port);
        all.into_iter().filter(|line| !line.starts_with("herald")).collect()
    }

    #[track_caller]
    fn lines_heard(&mut self, ear: &mut Ear, from: &str, address: &str, port: u16) -> Names {
        ear.heralds += 1;
        let herald = format!("herald-{}", ear.heralds);
        let enter = if from == "host" { String::new() } else { format!("ip netns exec {from} ") };
        self.ok(&format!("{enter}{ATTACK} herald {address} {herald} {port}"));
        let out = self.wait_for_file(&format!("{}.out", ear.name), |out| {
            out.lines().any(|line| line.split(' ').next() == Some(&herald))
        });
        out.lines().filter(|line| *line != "ready").map(str::to_owned).collect()
    }
}

/// Fails the test unless none of the attacks was heard.
#[track_caller]
pub fn assert_unheard(heard: &Names, by: &str) {
    assert!(heard.is_empty(), "{by} hears {heard:?}");
}

/// Fails the test unless each of these attacks was heard: without the guard they work.
#[track_caller]
pub fn assert_heard(heard: &Names, wanted: impl IntoIterator<Item = impl AsRef<str>>, by: &str) {
    let missing: Vec<String> =
        wanted.into_iter().map(|name| name.as_ref().to_owned()).filter(|name| !heard.contains(name)).collect();
    assert!(missing.is_empty(), "{by} doesn't hear {missing:?} even without the guard, only {heard:?}");
}
