//! What a value is completed to, from what the command line's definitions call it.

/// What stands in a value's place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// A VPC.
    Vpc,
    /// A subnet of the VPC that is named before.
    Subnet,
    /// An instance of the subnet that is named before.
    Instance,
    /// A path of `least` to `most` parts, such as `vpc1/public`. A path of fewer parts ends in a slash: more has to follow.
    Path {
        /// The fewest parts.
        least: usize,
        /// The most parts that exist already.
        most: usize,
    },
    /// An interface of the host.
    Interface,
    /// A file.
    File,
    /// A directory.
    Dir,
    /// Something that isn't completed here.
    Other,
}

impl Place {
    /// The place that is called `name`, such as `VPC` or `VPC/SUBNET[/INSTANCE]`, on the command line of `command`. What a
    /// command makes has no name yet: the last part of its path is the operator's.
    pub fn of(name: &str, command: &str) -> Self {
        let makes = makes_something(command);
        match name.trim_end_matches(|c: char| c.is_ascii_digit()) {
            "VPC" => Place::Vpc,
            "SUBNET" => Place::Subnet,
            "INSTANCE" => Place::Instance,
            "INTERFACE" => Place::Interface,
            "FILE" => Place::File,
            "DIR" => Place::Dir,
            "NAME" if !makes => match command.rsplit('-').next() {
                Some("vpc") => Place::Vpc,
                Some("subnet") => Place::Subnet,
                Some("instance") => Place::Instance,
                _ => Place::Other,
            },
            name if name.starts_with("VPC/") || name.starts_with("VPC[/") => path(name, makes),
            _ => Place::Other,
        }
    }
}

fn path(name: &str, makes: bool) -> Place {
    let required = name.split('[').next().unwrap_or(name);
    let least = required.split('/').count();
    let parts = name.split('/').count();
    Place::Path { least, most: if makes { parts - 1 } else { parts } }
}

/// Is this a command whose path names what isn't there yet?
fn makes_something(command: &str) -> bool {
    ["add-", "create-"].iter().any(|verb| command.starts_with(verb))
}

/// The value that a flag has among these words: `--vpc vpc1` or `--vpc=vpc1`.
pub fn value_of<'a>(flag: &str, words: &'a [String]) -> Option<&'a str> {
    let after = words.iter().position(|word| word == flag).and_then(|index| words.get(index + 1));
    let within = || words.iter().find_map(|word| word.strip_prefix(flag)?.strip_prefix('='));
    after.map(String::as_str).or_else(within)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_place_is_in_the_name() {
        assert_eq!(Place::of("VPC", "exec"), Place::Vpc);
        assert_eq!(Place::of("VPC2", "peer"), Place::Vpc);
        assert_eq!(Place::of("VPC[/SUBNET[/INSTANCE]]", "exec"), Place::Path { least: 1, most: 3 });
        assert_eq!(Place::of("VPC/SUBNET[/INSTANCE]", "apply-policy"), Place::Path { least: 2, most: 3 });
        assert_eq!(Place::of("VPC/SUBNET", "add-subnet"), Place::Path { least: 2, most: 1 });
        assert_eq!(Place::of("NAME", "delete-subnet"), Place::Subnet);
        assert_eq!(Place::of("NAME", "add-subnet"), Place::Other);
        assert_eq!(Place::of("CIDR", "add-subnet"), Place::Other);
    }

    #[test]
    fn a_flag_has_its_value_beside_it_or_in_it() {
        let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(value_of("--vpc", &words("vpcctl enable-nat --vpc vpc1")), Some("vpc1"));
        assert_eq!(value_of("--vpc", &words("vpcctl enable-nat --vpc=vpc1 --subnet")), Some("vpc1"));
        assert_eq!(value_of("--vpc", &words("vpcctl enable-nat --vpcs=vpc1 --vpc")), None);
    }
}
