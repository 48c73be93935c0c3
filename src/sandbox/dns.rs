//! What the sandbox's internet answers over DNS. Every name exists: `example.com` at one well-known address, any
//! other at an address of the internet that follows from the name, so that it is the same every time.

use std::hash::Hasher;
use std::net::Ipv4Addr;

use simple_dns::rdata::{A, RData};
use simple_dns::{CLASS, OPCODE, Packet, PacketFlag, QTYPE, Question, RCODE, ResourceRecord, TYPE};
use siphasher::sip::SipHasher13;

use super::network::INTERNET;

/// How long an answer may be remembered, in seconds.
const TTL: u32 = 60;
/// Other names' addresses are the internet's `FIRST_HOST` and the `HOSTS - 1` after it, away from the addresses that
/// people type.
const FIRST_HOST: u32 = 100;
const HOSTS: u64 = 150;

/// The answer to the DNS message `query`; none if it isn't a question at all.
pub fn answer(query: &[u8]) -> Option<Vec<u8>> {
    let Ok(packet) = Packet::parse(query) else {
        return malformed(query);
    };
    if packet.has_flags(PacketFlag::RESPONSE) {
        return None;
    }
    let asked = packet.has_flags(PacketFlag::RECURSION_DESIRED);
    let mut reply = packet.into_reply();
    reply.set_flags(PacketFlag::RECURSION_AVAILABLE);
    if asked {
        reply.set_flags(PacketFlag::RECURSION_DESIRED);
    }
    // Only what was asked is repeated, not what came along with it.
    (reply.answers, reply.name_servers, reply.additional_records) = Default::default();
    *reply.rcode_mut() = match (reply.opcode(), reply.questions.as_slice()) {
        (OPCODE::StandardQuery, [question]) => {
            let (code, record) = resolve(question);
            reply.answers.extend(record);
            code
        }
        (OPCODE::StandardQuery, _) => RCODE::FormatError,
        _ => RCODE::NotImplemented,
    };
    reply.build_bytes_vec_compressed().ok()
}

/// A refusal, to what has at least the length of a header and isn't itself an answer.
fn malformed(query: &[u8]) -> Option<Vec<u8>> {
    let &[high, low, flags, _, ..] = query.first_chunk::<12>()?;
    if flags & 0x80 != 0 {
        return None;
    }
    let mut reply = Packet::new_reply(u16::from_be_bytes([high, low]));
    *reply.rcode_mut() = RCODE::FormatError;
    reply.build_bytes_vec().ok()
}

/// Every name has an address and nothing else; only reverse names, below `arpa`, don't exist.
fn resolve<'a>(question: &Question<'a>) -> (RCODE, Option<ResourceRecord<'a>>) {
    let name = question.qname.to_string().to_ascii_lowercase();
    if name == "arpa" || name.ends_with(".arpa") {
        return (RCODE::NameError, None);
    }
    let record = matches!(question.qtype, QTYPE::TYPE(TYPE::A) | QTYPE::ANY).then(|| {
        let data = RData::A(A { address: address(&name).into() });
        ResourceRecord::new(question.qname.clone(), CLASS::IN, TTL, data)
    });
    (RCODE::NoError, record)
}

/// The address of `name`, which is in lower case.
fn address(name: &str) -> Ipv4Addr {
    let host = match name {
        "example.com" => 10,
        _ => {
            let mut hasher = SipHasher13::new();
            hasher.write(name.as_bytes());
            FIRST_HOST + (hasher.finish() % HOSTS) as u32
        }
    };
    Ipv4Addr::from(u32::from(INTERNET) + host)
}

#[cfg(test)]
mod tests {
    use simple_dns::{Name, QCLASS};

    use super::*;

    fn query(name: &str, kind: QTYPE) -> Vec<u8> {
        let mut packet = Packet::new_query(77);
        packet.set_flags(PacketFlag::RECURSION_DESIRED);
        packet.questions.push(Question::new(Name::new_unchecked(name), kind, QCLASS::CLASS(CLASS::IN), false));
        packet.build_bytes_vec().unwrap()
    }

    /// The code and the addresses of the answer.
    fn ask(name: &str, kind: QTYPE) -> (RCODE, Vec<Ipv4Addr>) {
        let bytes = answer(&query(name, kind)).unwrap();
        let reply = Packet::parse(&bytes).unwrap();
        assert_eq!(reply.id(), 77);
        assert_eq!(reply.questions.len(), 1);
        assert!(reply.has_flags(PacketFlag::RESPONSE | PacketFlag::RECURSION_DESIRED));
        let address = |record: &ResourceRecord| match &record.rdata {
            RData::A(a) => Ipv4Addr::from(a.address),
            other => panic!("not an address: {other:?}"),
        };
        (reply.rcode(), reply.answers.iter().map(address).collect())
    }

    #[test]
    fn example_com_has_a_well_known_address() {
        let expected = (RCODE::NoError, vec![Ipv4Addr::new(203, 0, 113, 10)]);
        assert_eq!(ask("example.com", TYPE::A.into()), expected);
        assert_eq!(ask("Example.COM", TYPE::A.into()), expected);
    }

    #[test]
    fn any_other_name_has_a_stable_address_of_the_internet() {
        let (code, first) = ask("deb.debian.org", TYPE::A.into());
        assert_eq!(code, RCODE::NoError);
        assert_eq!(first, [Ipv4Addr::new(203, 0, 113, 187)], "a new version must not move it");
        assert_eq!(ask("DEB.debian.org", TYPE::A.into()).1, first);
        for name in ["a", "b.c", "x.example.com", "localhost"] {
            let last = address(name).octets()[3];
            assert!((100..250).contains(&last), "{name}: {last}");
        }
    }

    #[test]
    fn a_name_has_nothing_but_an_address() {
        for kind in [TYPE::AAAA, TYPE::MX, TYPE::TXT] {
            assert_eq!(ask("example.com", kind.into()), (RCODE::NoError, vec![]));
        }
    }

    #[test]
    fn reverse_names_do_not_exist() {
        assert_eq!(ask("10.113.0.203.in-addr.arpa", TYPE::PTR.into()), (RCODE::NameError, vec![]));
    }

    #[test]
    fn an_answer_is_not_answered() {
        assert_eq!(answer(&answer(&query("example.com", TYPE::A.into())).unwrap()), None);
    }

    #[test]
    fn garbage_gets_a_refusal_or_nothing() {
        assert_eq!(answer(b"short"), None);
        let mut broken = query("example.com", TYPE::A.into());
        broken.truncate(20);
        let bytes = answer(&broken).unwrap();
        let reply = Packet::parse(&bytes).unwrap();
        assert_eq!((reply.id(), reply.rcode()), (77, RCODE::FormatError));
    }
}
