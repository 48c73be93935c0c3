//! Programs that run in instances: what `deploy-app` starts.
//!
//! ```text
//! vpcctl deploy-app
//!   └─ ip netns exec vpc1-public              enters the namespace, with its own resolv.conf
//!        └─ vpcctl run-app        launch      starts the supervisor, and waits until the port answers
//!             └─ vpcctl supervise-app  supervise   a session of its own: writes the record and the log
//!                  └─ vpcctl init-app  init        the first process of a pid namespace, with a /proc of its own
//!                       └─ vpcctl exec-app  confine     gives up root's powers, and becomes the program or the web server
//! ```
//!
//! 1. An app is known by the numbers and the start times of its processes, never by a name.
//! 2. It has none of root's powers, and none of vpcctl's open files: not the lock, which would outlive vpcctl with it, and not
//!    its own log, which it could forge: the supervisor writes that.
//! 3. It sees no other process, also none of another app of the same user.
//! 4. All that it starts ends with it, whoever dies first: the kernel ends a pid namespace with its first process.
//! 5. Its log has a size that is bounded while it is written; how it ended is in its record.

pub mod confine;
mod events;
pub mod init;
pub mod launch;
pub mod process;
pub mod record;
pub mod supervise;

/// The hidden subcommand that watches over an app.
pub const SUPERVISE_SUBCOMMAND: &str = "supervise-app";

/// The hidden subcommand that is the first process of an app's pid namespace.
pub const INIT_SUBCOMMAND: &str = "init-app";

/// The hidden subcommand that becomes the app.
pub const EXEC_SUBCOMMAND: &str = "exec-app";

/// What a line of vpcctl's own in an app's log begins with.
pub const OWN_WORD: &str = "vpcctl: ";

/// What it begins with where the program never began.
pub const OWN_ERROR: &str = "vpcctl: error: ";
