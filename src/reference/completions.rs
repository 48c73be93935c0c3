//! Completion scripts. They only register: what is offered comes from the program, at each TAB.

use anyhow::Context;
use clap_complete::env::{Bash, EnvCompleter, Fish, Zsh};

use crate::completion::VARIABLE;
use crate::reference::File;
use crate::reference::program::NAME;

/// zsh reads the file at the first TAB, as the body of a function. Registering alone would leave that TAB without an answer.
const ZSH_FIRST_TAB: &str = "[[ $funcstack[1] != _vpcctl ]] || _clap_dynamic_completer_vpcctl\n";

/// The scripts, each with the name under which its shell looks for it.
///
/// # Errors
/// A script can't be rendered.
pub fn files() -> anyhow::Result<Vec<File>> {
    let shells: [(&dyn EnvCompleter, &str); 3] = [(&Bash, "vpcctl.bash"), (&Zsh, "_vpcctl"), (&Fish, "vpcctl.fish")];
    shells.into_iter().map(|(shell, name)| file(shell, name)).collect()
}

fn file(shell: &dyn EnvCompleter, name: &str) -> anyhow::Result<File> {
    let mut script = Vec::new();
    shell
        .write_registration(VARIABLE, NAME, NAME, NAME, &mut script)
        .with_context(|| format!("cannot render the completions for {}", shell.name()))?;
    let mut text = String::from_utf8(script)?.trim().to_owned() + "\n";
    if shell.is("zsh") {
        text.push_str(ZSH_FIRST_TAB);
    }
    Ok(File { name: name.to_owned(), text })
}
