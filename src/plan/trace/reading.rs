//! Rules as data again: what stands after `-A CHAIN`, read the way iptables reads it. All that the rules of vpcctl say is
//! understood; what isn't is an error, not a guess.

use crate::model::cidr::Cidr;
use crate::plan::rule::{MARK, Rule};

/// A rule that can be tried on a packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadRule {
    /// As it was written.
    pub text: String,
    /// Each with what it has to come to.
    pub tests: Vec<(Test, bool)>,
    /// What happens to a packet that passes all tests.
    pub target: Target,
    /// What it is for, in words: the comment without its mark.
    pub purpose: String,
}

/// One thing that a rule asks of a packet.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are iptables' own")]
pub enum Test {
    Source(Cidr),
    Destination(Cidr),
    In(String),
    Out(String),
    Transport(String),
    SourcePorts(Vec<(u16, u16)>),
    DestinationPorts(Vec<(u16, u16)>),
    IcmpType(u8),
    States(Vec<String>),
    /// Whether it is the direction of replies.
    Direction(bool),
    /// The set's name, and for each of its dimensions whether it is the packet's source.
    Set(String, Vec<bool>),
    /// Group and mask of the interface that it came by.
    SourceGroup(u32, u32),
    DestinationGroup(u32, u32),
    PacketMark(u32),
    ConnectionMark(u32),
    /// A route leads back to its sender by the interface that it came by.
    WayBack,
}

/// What a rule does.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are iptables' own")]
pub enum Target {
    Accept,
    Return,
    Drop,
    /// With what the sender is told.
    Reject(String),
    Masquerade,
    /// Gives the packet this mark.
    Mark(u32),
    /// Gives the connection the packet's mark.
    SaveMark,
    Jump(String),
}

impl TryFrom<&Rule> for ReadRule {
    type Error = String;

    fn try_from(rule: &Rule) -> Result<Self, String> {
        ReadRule::read(&rule.spec())
    }
}

impl ReadRule {
    /// Reads a rule.
    ///
    /// # Errors
    /// What of it is not understood.
    pub fn read(text: &str) -> Result<Self, String> {
        let words = words(text);
        let unclear = |what: &str| format!("`{what}` in the rule `{text}` is not understood");
        let target = words.iter().position(|word| word == "-j").ok_or_else(|| unclear("no target"))?;
        let mut rule = ReadRule {
            text: text.to_owned(),
            tests: Vec::new(),
            target: read_target(&words[target + 1..]).ok_or_else(|| unclear("target"))?,
            purpose: String::new(),
        };
        let mut words = words[..target].iter().map(String::as_str);
        let (mut module, mut wanted) = ("", true);
        while let Some(word) = words.next() {
            match word {
                "!" => {
                    wanted = false;
                    continue;
                }
                "-m" => module = words.next().unwrap_or_default(),
                "--comment" => rule.purpose = purpose(words.next().unwrap_or_default()),
                // Of `rpfilter`: a packet without a way back fits.
                "--invert" => rule.tests.push((Test::WayBack, false)),
                option => {
                    let value = words.next().unwrap_or_default();
                    let sides = if option == "--match-set" { words.next().unwrap_or_default() } else { "" };
                    let test = read_test(module, option, value, sides).ok_or_else(|| unclear(option))?;
                    rule.tests.push((test, wanted));
                }
            }
            wanted = true;
        }
        Ok(rule)
    }
}

fn read_test(module: &str, option: &str, value: &str, sides: &str) -> Option<Test> {
    Some(match option {
        "-s" => Test::Source(parse_network(value)?),
        "-d" => Test::Destination(parse_network(value)?),
        "-i" => Test::In(value.to_owned()),
        "-o" => Test::Out(value.to_owned()),
        "-p" => Test::Transport(value.to_owned()),
        "--sport" | "--sports" => Test::SourcePorts(ports(value)?),
        "--dport" | "--dports" => Test::DestinationPorts(ports(value)?),
        "--icmp-type" => Test::IcmpType(value.parse().ok()?),
        "--ctstate" => Test::States(value.split(',').map(str::to_owned).collect()),
        "--ctdir" => Test::Direction(value == "REPLY"),
        "--match-set" => Test::Set(value.to_owned(), sides.split(',').map(|side| side == "src").collect()),
        "--src-group" => masked(value).map(|(group, mask)| Test::SourceGroup(group, mask))?,
        "--dst-group" => masked(value).map(|(group, mask)| Test::DestinationGroup(group, mask))?,
        "--mark" if module == "mark" => Test::PacketMark(number(value)?),
        "--mark" if module == "connmark" => Test::ConnectionMark(number(value)?),
        _ => return None,
    })
}

fn read_target(words: &[String]) -> Option<Target> {
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    Some(match words[..] {
        ["ACCEPT"] => Target::Accept,
        ["RETURN"] => Target::Return,
        ["DROP"] => Target::Drop,
        ["MASQUERADE"] => Target::Masquerade,
        ["REJECT", "--reject-with", answer] => Target::Reject(answer.to_owned()),
        ["MARK", "--set-xmark", value] => Target::Mark(number(value.strip_suffix("/0xffffffff")?)?),
        ["CONNMARK", "--save-mark"] => Target::SaveMark,
        [chain] if !chain.is_empty() => Target::Jump(chain.to_owned()),
        _ => return None,
    })
}

/// A comment without the mark that it begins with.
fn purpose(comment: &str) -> String {
    let marked = comment.strip_prefix(MARK).and_then(|rest| rest.split_once(' '));
    marked.map_or(comment, |(_, purpose)| purpose).to_owned()
}

/// The words of a rule, with quotes read.
fn words(rule: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    for (index, piece) in rule.split('"').enumerate() {
        match index % 2 {
            0 => words.extend(piece.split_whitespace().map(str::to_owned)),
            _ => words.push(piece.to_owned()),
        }
    }
    words
}

/// A network or an address, as `ip`, `ipset` and `iptables` write it.
pub(super) fn parse_network(text: &str) -> Option<Cidr> {
    text.parse().ok().or_else(|| text.parse().ok().map(Cidr::host))
}

fn number(text: &str) -> Option<u32> {
    u32::from_str_radix(text.strip_prefix("0x")?, 16).ok()
}

fn masked(text: &str) -> Option<(u32, u32)> {
    match text.split_once('/') {
        Some((group, mask)) => Some((number(group)?, number(mask)?)),
        None => Some((number(text)?, u32::MAX)),
    }
}

fn ports(list: &str) -> Option<Vec<(u16, u16)>> {
    let range = |item: &str| {
        let (first, last) = item.split_once(':').unwrap_or((item, item));
        Some((first.parse().ok()?, last.parse().ok()?))
    };
    list.split(',').map(range).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_reads_as_it_was_written() {
        let rule = Rule::new("-s 10.0.1.0/24 -p tcp -m multiport --dports 22,8000:8100", "-j DROP", "ingress[1] deny");
        let read = ReadRule::try_from(&rule).unwrap();
        let tests = [
            Test::Source("10.0.1.0/24".parse().unwrap()),
            Test::Transport("tcp".into()),
            Test::DestinationPorts(vec![(22, 22), (8000, 8100)]),
        ];
        assert_eq!(read.tests, tests.map(|test| (test, true)));
        assert_eq!((read.target, read.purpose.as_str()), (Target::Drop, "ingress[1] deny"));
    }

    #[test]
    fn a_negation_is_of_the_next_test_alone() {
        let read =
            ReadRule::read("-m conntrack ! --ctstate RELATED -m mark --mark 0x7 -j CONNMARK --save-mark").unwrap();
        let related = Test::States(vec!["RELATED".into()]);
        assert_eq!(read.tests, [(related, false), (Test::PacketMark(7), true)]);
        assert_eq!(read.target, Target::SaveMark);
    }

    #[test]
    fn what_is_not_understood_is_an_error() {
        for text in ["-m time --datestart 2020 -j DROP", "-p tcp", "-j LOG --log-prefix x", "--dport http -j DROP"] {
            let error = ReadRule::read(text).unwrap_err();
            assert!(error.contains("is not understood"), "{error}");
        }
    }
}
