//! A plan object by object: what each is for, which concept of cloud networks it implements, and the commands. These are the
//! lines of the dry run, from the same functions.

mod words;

use std::slice;

use crate::model::owner::Owner;
use crate::plan::op::Op;
use crate::plan::{Plan, Removed, batch, script};

pub use words::words;

/// An object, why it is there, and the commands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explained {
    /// Whether it comes or goes.
    pub action: Action,
    /// Whom it is there for.
    pub owner: Owner,
    /// Its name.
    pub object: String,
    /// What it is for.
    pub purpose: &'static str,
    /// What a cloud calls it.
    pub concept: &'static str,
    /// The commands; none where it goes by itself, with what it is in.
    pub commands: Vec<String>,
}

/// Whether an object comes or goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// It comes.
    Make,
    /// It goes.
    Unmake,
}

/// The objects of a plan in order: those that stand in the way, those that come, those that go.
pub fn explain(plan: &Plan) -> Vec<Explained> {
    let (cleared, unmade) = (Removed::new(&plan.clear), Removed::new(&plan.unmake));
    let clear = plan.clear.iter().map(|op| unmaking(op, &cleared));
    let make = plan.make.iter().map(|op| explained(op, Action::Make, lines(&batch::making(slice::from_ref(op)))));
    clear.chain(make).chain(plan.unmake.iter().map(|op| unmaking(op, &unmade))).collect()
}

fn unmaking(op: &Op, removed: &Removed) -> Explained {
    explained(op, Action::Unmake, lines(&batch::unmaking_among(slice::from_ref(op), removed)))
}

fn lines(steps: &batch::Steps) -> Vec<String> {
    steps.iter().flat_map(script::step_lines).map(|(_, line)| line).collect()
}

fn explained(op: &Op, action: Action, commands: Vec<String>) -> Explained {
    let (purpose, concept) = words(op);
    Explained { action, owner: op.owner.clone(), object: op.identity(), purpose, concept, commands }
}
