//! Programs that run in instances, as the state wants them. What runs of them is in [`crate::app`].

use std::fmt;
use std::num::NonZeroU16;
use std::path::PathBuf;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::error::Failure;

/// A TCP port: of the apps of an instance each has its own, and is named by it.
pub type Port = NonZeroU16;

/// The longest time that an app may take until it listens, in seconds.
pub const MAX_WAIT: u16 = 600;

/// Reads a port in its one spelling: std's parser takes `+80` and `080` too.
pub fn port(text: &str) -> Result<Port, Failure> {
    let is_canonical = text.bytes().all(|byte| byte.is_ascii_digit()) && !text.starts_with('0');
    text.parse().ok().filter(|_| is_canonical).ok_or_else(|| {
        Failure::usage(format!("`{}` is no port", text.escape_debug())).hint("a port is a number from 1 to 65535")
    })
}

/// A program that runs in an instance, and listens on a port there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct App {
    /// The program and its arguments; the built-in web server where there are none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub command: Vec<String>,
    /// Whom it runs as.
    pub user: UserName,
    /// Where it runs.
    pub directory: PathBuf,
    /// How long it may take until it listens, in seconds; 0 is not waited for.
    pub wait: u16,
}

impl App {
    /// Is it the same program, run the same way, however long it may take to begin?
    pub fn is_same_program(&self, other: &App) -> bool {
        (&self.command, &self.user, &self.directory) == (&other.command, &other.user, &other.directory)
    }

    /// Can it be started at all?
    pub fn is_possible(&self) -> bool {
        let words = self.command.iter().map(String::as_str).chain(self.directory.to_str());
        self.directory.is_absolute()
            && self.directory.to_str().is_some()
            && !words.into_iter().any(|word| word.contains('\0'))
            && self.command.first().is_none_or(|program| !program.is_empty())
    }

    /// What runs, in a word or two.
    pub fn name(&self) -> String {
        if self.command.is_empty() {
            return "built-in web server".into();
        }
        self.command.join(" ").replace(char::is_control, " ")
    }
}

/// A user of the host, by name or by number.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
pub struct UserName(String);

impl UserName {
    /// Whom apps run as unless somebody else is named.
    pub fn nobody() -> Self {
        UserName("nobody".into())
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for UserName {
    type Err = Failure;

    /// What `useradd` takes by default, capitals and dots included.
    fn from_str(text: &str) -> Result<Self, Failure> {
        let is_odd = |c: char| !(c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'));
        if text.is_empty() || text.len() > 32 || text.starts_with('-') || text.contains(is_odd) {
            return Err(Failure::usage(format!("`{}` is no user's name", text.escape_debug()))
                .hint("name a user of the host, such as `nobody`, or give its number"));
        }
        Ok(UserName(text.to_owned()))
    }
}

impl TryFrom<String> for UserName {
    type Error = Failure;

    fn try_from(text: String) -> Result<Self, Failure> {
        text.parse()
    }
}

impl From<UserName> for String {
    fn from(name: UserName) -> String {
        name.0
    }
}

impl fmt::Display for UserName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
