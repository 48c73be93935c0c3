//! `vpcctl apply`.

use clap::Args;

use crate::commands::topology::{Described, WantArgs, kept, note_kept, reason};
use crate::error::{Kind, Result};
use crate::model::changes::{self, Change};
use crate::model::facts::HostFacts;
use crate::model::state::HostAccess;
use crate::session::{Outcome, Session};
use crate::view::topology::{Sums, applied, lines};

/// Make the network what a file says
///
/// All in one step: it is done as a whole, or undone. What differs is changed in place where that can be, and replaced where it
/// can't; what the file doesn't have stays, unless --prune is given. A second time nothing changes, and what was removed behind
/// vpcctl's back is made again.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  vpcctl apply -f net.yaml
  vpcctl apply -f net.yaml --prune              also removes what the file doesn't have
  vpcctl --dry-run apply -f net.yaml            what it would run, as a script")]
pub struct Apply {
    #[command(flatten)]
    args: WantArgs,
}

impl Apply {
    pub(super) fn run(&self, session: &Session<'_>) -> anyhow::Result<()> {
        let described = self.args.load(session.interrupted)?;
        let want = self.args.want(&described);
        let state = session.read()?;
        described.check(session, &want, &state)?;
        let mut host = HostFacts::default();
        let mut outcome = session.change(&described.subject(&state), |state| {
            host = described.facts(session, state, want.pool)?;
            described.edit(&want, state, &host)
        })?;
        if outcome.is_change() && !outcome.dry_run && !outcome.old.vpcs.is_empty() {
            outcome.mended = mend_besides(session, &described, &outcome)?;
        }
        note_kept(session, &kept(&want, &outcome.old, &outcome.new, &host));
        let objects = changes::between(&outcome.old, &outcome.new, reason(&want));
        report(session, &described, &outcome, &objects)?;
        note_overlaps(session, &outcome);
        Ok(())
    }
}

/// Makes again what the change had no part in and was removed behind vpcctl's back. The change holds whatever comes of it.
fn mend_besides(session: &Session<'_>, described: &Described, outcome: &Outcome) -> Result<usize> {
    match session.change(&described.subject(&outcome.new), |_| Ok(())) {
        Ok(outcome) => Ok(outcome.mended),
        Err(failure) if failure.kind == Kind::Interrupted => Err(failure),
        Err(failure) => {
            session.ui.note(&format!("the change is done; what else may have to be mended is not: {failure}"));
            Ok(0)
        }
    }
}

/// Says what was done, object by object.
pub(super) fn report(
    session: &Session<'_>,
    described: &Described,
    outcome: &Outcome,
    objects: &[Change],
) -> anyhow::Result<()> {
    let (name, mended) = (described.name(), outcome.mended);
    let message = match mended {
        _ if outcome.dry_run => return Ok(()),
        0 if outcome.is_change() => format!("{name}: {}", Sums::of(objects).words(true)),
        _ if outcome.is_change() => format!("{name}: {}, and {mended} mended", Sums::of(objects).words(true)),
        0 => format!("{name}: nothing changed"),
        1 => format!("{name}: 1 object mended"),
        _ => format!("{name}: {mended} objects mended"),
    };
    let shown = applied(outcome.is_change(), mended, objects, &message);
    session.ui.outcome(&shown, &format!("{}{message}", lines(objects, true)))
}

/// VPCs that the host could get no way to.
fn note_overlaps(session: &Session<'_>, outcome: &Outcome) {
    for (name, vpc) in &outcome.new.vpcs {
        if let (HostAccess::Overlaps(what), false) = (&vpc.host_access, outcome.old.vpcs.contains_key(name)) {
            session.ui.note(&format!("the host gets no route to {name}: {} overlaps {what}; all else works", vpc.cidr));
        }
    }
}
