//! `vpcctl plan`.

use std::collections::BTreeMap;

use clap::Args;

use crate::commands::topology::{WantArgs, kept, note_kept, reason};
use crate::error::{CHANGES, Result};
use crate::model::changes::{self, Action, Change};
use crate::model::owner::Owner;
use crate::model::state::State;
use crate::plan::op::Op;
use crate::plan::reconcile::{self, Unmarked};
use crate::plan::subject::Subject;
use crate::session::Session;
use crate::view::topology;

/// Say what applying a file would change
///
/// Object by object, with the reason. Ends with 0 where nothing would change and with 2 where something would; what can't be
/// planned ends with 1 or another of the exit codes. It takes no lock and changes nothing.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  vpcctl plan -f net.yaml
  vpcctl plan -f net.yaml --prune -o json")]
pub struct Plan {
    #[command(flatten)]
    args: WantArgs,
}

impl Plan {
    pub(super) fn run(&self, session: &Session<'_>) -> anyhow::Result<u8> {
        let described = self.args.load(session.interrupted)?;
        let want = self.args.want(&described);
        let old = session.read()?;
        if let Some(intent) = session.store.intent()? {
            session.ui.note(&format!("`{}` has not ended: what it does is not in this plan", intent.changed_by));
        }
        described.check(session, &want, &old)?;
        let facts = described.facts(session, &old, want.pool)?;
        let mut new = old.clone();
        described.edit(&want, &mut new, &facts)?;
        let mut objects = changes::between(&old, &new, reason(&want));
        let mended = mending(session, &described.subject(&old), &old, &new)?;
        let is_named = |object: &str| objects.iter().any(|change| change.object == object);
        let mended: Vec<Change> = mended.into_iter().filter(|change| !is_named(&change.object)).collect();
        objects.extend(mended);
        let kept = kept(&want, &old, &new, &facts);
        note_kept(session, &kept);
        let is_change = !objects.is_empty();
        session.ui.value(&topology::plan(objects, kept), topology::plan_text)?;
        Ok(if is_change { CHANGES } else { 0 })
    }
}

/// What is not in the kernel as the state says, and stays wanted, as applying the file would mend it.
fn mending(session: &Session<'_>, subject: &Subject, old: &State, new: &State) -> Result<Vec<Change>> {
    let mut ops = subject.ops(old);
    if old != new {
        let wanted: BTreeMap<String, Op> = subject.ops(new).into_iter().map(|op| (op.identity(), op)).collect();
        ops.retain(|op| wanted.get(&op.identity()) == Some(op));
    }
    if ops.is_empty() {
        return Ok(Vec::new());
    }
    let plan = reconcile::plan(&ops, &[], &session.observe(&ops)?, Unmarked::Theirs);
    let mut owners: BTreeMap<&Owner, Vec<String>> = BTreeMap::new();
    for op in plan.make.iter() {
        owners.entry(&op.owner).or_default().push(op.identity());
    }
    let change = |(owner, objects): (&Owner, Vec<String>)| {
        let more = if objects.len() > 1 { format!(" and {} more", objects.len() - 1) } else { String::new() };
        let reason = format!("{}{more}: not in the kernel as it should be", objects[0]);
        Change { action: Action::Mend, object: owner.describe().replace('`', ""), reason }
    };
    Ok(owners.into_iter().map(change).collect())
}
