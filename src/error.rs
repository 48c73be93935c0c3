//! What can go wrong, as the operator and scripts see it: a kind (which is the exit code), one line that
//! names the object, and a hint that says what to do.

use std::fmt;

/// The kinds of failure. Each one's number is the exit code of the process, documented in the README and stable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A command of the kernel's tools failed; what the call had done was undone.
    Failed = 1,
    /// The command line or an input file says something that vpcctl refuses.
    Usage = 2,
    /// The named VPC, subnet, instance, peering or policy does not exist.
    NotFound = 3,
    /// The name is taken: by an object with other arguments, or by something that is not vpcctl's.
    Conflict = 4,
    /// The caller lacks a privilege that the kernel asks for.
    Privilege = 5,
    /// The host lacks something: a tool, a kernel feature, an interface.
    Host = 6,
    /// Another vpcctl holds the lock.
    Busy = 7,
    /// The state file can't be read or written.
    State = 8,
    /// The kernel doesn't have what the state says.
    Drift = 9,
    /// A packet did not fare as the model says.
    Disagree = 10,
    /// A signal ended the command; what it had done was undone.
    Interrupted = 130,
}

/// What an exit code of 0 says: its name and its meaning.
pub const DONE: (&str, &str) = ("done", "it is as you asked, whether or not something had to change");

/// The exit code of `plan` where applying the file would change something.
pub const CHANGES: u8 = 2;

impl Kind {
    /// Every kind, in the order of the exit codes.
    pub const ALL: [Kind; 11] = [
        Kind::Failed,
        Kind::Usage,
        Kind::NotFound,
        Kind::Conflict,
        Kind::Privilege,
        Kind::Host,
        Kind::Busy,
        Kind::State,
        Kind::Drift,
        Kind::Disagree,
        Kind::Interrupted,
    ];

    /// Its name in JSON and in documents: stable.
    pub fn name(self) -> &'static str {
        self.words().0
    }

    /// What it means, in words.
    pub fn describe(self) -> &'static str {
        self.words().1
    }

    /// What the operator can do where the failure itself doesn't say.
    pub fn advice(self) -> &'static str {
        self.words().2
    }

    /// Name, meaning, advice.
    fn words(self) -> (&'static str, &'static str, &'static str) {
        match self {
            Kind::Failed => (
                "failed",
                "a tool of the kernel's failed; what the command had done is undone",
                "`vpcctl inspect` shows what the kernel has; -v shows each command",
            ),
            Kind::Usage => (
                "usage",
                "the command line or a file says what vpcctl refuses",
                "`vpcctl help` shows each command with an example",
            ),
            Kind::NotFound => (
                "not-found",
                "there is no such VPC, subnet, instance or peering",
                "`vpcctl inspect` shows what there is",
            ),
            Kind::Conflict => {
                ("conflict", "the name or the addresses are taken", "`vpcctl inspect` shows what is taken")
            }
            Kind::Privilege => {
                ("privilege", "run it as root, or in a sandbox", "run it with sudo, or try it without: vpcctl sandbox")
            }
            Kind::Host => (
                "host",
                "the host lacks a tool, a kernel feature or an interface",
                "the README's requirements list what the host needs",
            ),
            Kind::Busy => ("busy", "another vpcctl holds the lock", "try again; --lock-timeout waits longer"),
            Kind::State => (
                "state",
                "the state file can't be read or written",
                "--state-dir or VPCCTL_STATE_DIR names another directory",
            ),
            Kind::Drift => (
                "drift",
                "the kernel doesn't have what the state says",
                "`vpcctl check` names what differs, `vpcctl repair` mends it",
            ),
            Kind::Disagree => (
                "disagree",
                "a packet did not fare as the model says",
                "`vpcctl check` compares the kernel with the state; another firewall on the host may be in the way",
            ),
            Kind::Interrupted => (
                "interrupted",
                "a signal ended the command; what it had done is undone",
                "what the command had done is undone: run it again",
            ),
        }
    }

    /// The process's exit code for this kind.
    pub fn exit_code(self) -> u8 {
        self as u8
    }
}

/// A failure: its kind, the message (lower case, no full stop, the object in backticks) and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// Which exit code it is.
    pub kind: Kind,
    /// One line that names the object and the value.
    pub message: String,
    /// What the operator can do, where there is more to say than its kind's advice.
    pub hint: Option<String>,
}

impl Failure {
    /// A failure; its hint is its kind's advice until [`Failure::hint`] gives a better one.
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        Failure { kind, message: message.into(), hint: None }
    }

    /// Bad input.
    pub fn usage(message: impl Into<String>) -> Self {
        Failure::new(Kind::Usage, message)
    }

    /// The named object does not exist.
    pub fn not_found(message: impl Into<String>) -> Self {
        Failure::new(Kind::NotFound, message)
    }

    /// The name or the addresses are taken.
    pub fn conflict(message: impl Into<String>) -> Self {
        Failure::new(Kind::Conflict, message)
    }

    /// What the operator can do about it: every failure says so.
    pub fn advice(&self) -> &str {
        self.hint.as_deref().unwrap_or(self.kind.advice())
    }

    /// The same failure of a command for which [`CHANGES`] is an answer: it has an exit code of its own.
    pub fn besides_changes(self) -> Self {
        if self.kind.exit_code() != CHANGES {
            return self;
        }
        let hint = self.advice().to_owned();
        Failure { kind: Kind::Failed, hint: Some(hint), ..self }
    }

    /// The same failure of a command for which 1 is an answer: it has an exit code of its own.
    pub fn besides_no(self) -> Self {
        if self.kind != Kind::Failed {
            return self;
        }
        let hint = self.advice().to_owned();
        Failure { kind: Kind::Host, hint: Some(hint), ..self }
    }

    /// An error of any kind, as what the operator and scripts see of it.
    pub fn from_any(error: anyhow::Error) -> Self {
        error.downcast().unwrap_or_else(|error| Failure::new(Kind::Failed, format!("{error:#}")))
    }

    /// Adds what the operator can do about it.
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}

/// The result of everything that can fail with a [`Failure`].
pub type Result<T, E = Failure> = std::result::Result<T, E>;
