//! Programs that run in instances: what `deploy-app` starts.
//!
//! ```text
//! vpcctl deploy-app
//!   └─ ip netns exec vpc1-public                enters the namespace, with its own resolv.conf
//!        └─ vpcctl run-app          launch      takes the port for a moment, starts the supervisor, waits until the port answers
//!             └─ vpcctl supervise-app  supervise   a session of its own; keeps the record, hands on the end, reaps
//!                  └─ vpcctl init-app  confine     gives up root's powers, and becomes the program or the web server
//! ```
//!
//! 1. An app is known by the number and the start time of its supervisor's process, never by a name.
//! 2. It has none of root's powers, and none of vpcctl's open files: not the lock, which would outlive vpcctl with it.
//! 3. All that it starts ends with it, also what cut itself loose: its supervisor inherits orphans.
//! 4. What it prints is in its log, of a size that is bounded; how it ended is in its record.

pub mod confine;
pub mod launch;
pub mod process;
pub mod record;
pub mod supervise;

/// The hidden subcommand that watches over an app.
pub const SUPERVISE_SUBCOMMAND: &str = "supervise-app";

/// The hidden subcommand that becomes the app.
pub const INIT_SUBCOMMAND: &str = "init-app";

/// What a line of vpcctl's own in an app's log begins with.
pub const OWN_WORD: &str = "vpcctl: ";

/// What it begins with where the program never began.
pub const OWN_ERROR: &str = "vpcctl: error: ";
