//! Text that others wrote, on its way to the operator.

/// Without what a terminal would obey. Names, comments and command lines are whoever's.
pub fn printable(text: &str) -> String {
    text.chars().filter(|letter| !letter.is_control()).collect()
}
