//! The action log: a file in the state directory that keeps every command with its time, duration and result; and, where
//! VPCCTL_LOG asks for it, diagnostics on stderr.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;
use std::sync::OnceLock;

use tracing_subscriber::filter::{EnvFilter, Targets};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::format::FmtSpan;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, fmt};

use crate::own_file;

/// The target of events that belong into the action log.
pub const ACTION: &str = "vpcctl::action";

static FILE: OnceLock<File> = OnceLock::new();

/// Sets up both; nothing is written to a file before [`open`].
pub fn init() {
    let actions = fmt::layer()
        .with_writer(ActionFile)
        .with_ansi(false)
        .with_target(false)
        .with_level(false)
        .with_span_events(FmtSpan::NONE)
        .with_filter(Targets::new().with_target(ACTION, tracing::Level::INFO));
    let coloured = anstream::AutoStream::choice(&io::stderr()) != anstream::ColorChoice::Never;
    let diagnostics =
        fmt::layer().with_writer(io::stderr).with_ansi(coloured).with_filter(EnvFilter::from_env("VPCCTL_LOG"));
    let wanted = std::env::var_os("VPCCTL_LOG").is_some();
    tracing_subscriber::registry().with(actions).with(wanted.then_some(diagnostics)).init();
}

/// Opens the file; a log that can't be written is no reason not to act.
pub fn open(path: &Path) {
    match own_file::open(path, OpenOptions::new().append(true).create(true)) {
        Ok(file) => drop(FILE.set(file)),
        Err(error) => tracing::warn!("no action log: {}: {error}", path.display()),
    }
}

struct ActionFile;

/// The log's file, once it is open; nowhere before.
struct Sink(Option<&'static File>);

impl<'a> MakeWriter<'a> for ActionFile {
    type Writer = Sink;

    fn make_writer(&'a self) -> Sink {
        Sink(FILE.get())
    }
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.map_or(Ok(bytes.len()), |mut file| file.write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
