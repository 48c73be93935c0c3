//! What `explain` prints.

use schemars::JsonSchema;
use serde::Serialize;

use crate::model::owner::Owner;
use crate::plan::explain::{Action, Explained};
use crate::ui::style;
use crate::view::VERSION;

/// What `explain` prints.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Explanation {
    version: u32,
    objects: Vec<ExplainedObject>,
}

/// A kernel object, why it is there, and the commands.
#[derive(Debug, Serialize, JsonSchema)]
struct ExplainedObject {
    /// `make` or `unmake`.
    action: &'static str,
    /// Whom it is there for: `host`, or the path of a VPC, subnet or instance, or two VPCs.
    of: String,
    /// Its name, as in `check`.
    object: String,
    /// What it is for.
    purpose: &'static str,
    /// What a cloud calls what it implements.
    concept: &'static str,
    /// In order; none where it goes by itself, with what it is in.
    commands: Vec<String>,
    #[serde(skip)]
    owner: String,
}

/// The objects of a plan, explained.
pub fn explanation(objects: Vec<Explained>) -> Explanation {
    let object = |explained: Explained| {
        let Explained { action, owner, object, purpose, concept, commands } = explained;
        let action = match action {
            Action::Make => "make",
            Action::Unmake => "unmake",
        };
        ExplainedObject {
            action,
            of: owner.to_string(),
            object,
            purpose,
            concept,
            commands,
            owner: heading(&owner, action),
        }
    };
    Explanation { version: VERSION, objects: objects.into_iter().map(object).collect() }
}

fn heading(owner: &Owner, action: &str) -> String {
    let end = if action == "unmake" { ", which goes" } else { "" };
    format!("{}{end}", owner.describe().replace('`', ""))
}

/// `explain` for people: under a heading for each owner, each object with its commands.
pub fn text(explanation: &Explanation) -> String {
    let (heading, dim) = (style::HEADING, style::COMMAND);
    if explanation.objects.is_empty() {
        return "nothing: there is no object to make or to take away\n".into();
    }
    let mut text = String::new();
    let mut owner = "";
    for (index, object) in explanation.objects.iter().enumerate() {
        let gap = if index == 0 { "" } else { "\n" };
        if object.owner != owner {
            owner = &object.owner;
            text += &format!("{gap}{heading}== {owner} =={heading:#}\n");
        }
        text += &format!("\n{heading}{}. {}{heading:#}\n", index + 1, object.object);
        text += &format!("   {}\n   in a cloud: {}\n", object.purpose, object.concept);
        if object.commands.is_empty() {
            text += &format!("   {dim}{} by itself{dim:#}\n", if object.action == "make" { "comes" } else { "goes" });
        }
        text.extend(object.commands.iter().map(|line| format!("   {dim}$ {line}{dim:#}\n")));
    }
    text
}
