//! A topology file is refused, with a place, or can be made an edit of.
#![no_main]

use libfuzzer_sys::fuzz_target;
use vpcctl::model::state::State;
use vpcctl::model::topology_file::{Source, Want, export};

fuzz_target!(|bytes: &[u8]| {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let source = Source { name: "net.yaml".into(), text: text.to_owned() };
    let topology = match source.parse() {
        Ok(topology) => topology,
        Err(failure) => return assert!(!failure.message.contains(char::is_control), "{failure:?}"),
    };
    let mut state = State::default();
    let want = Want { topology: &topology, prune: true, pool: "198.19.0.0/16".parse().expect("a CIDR") };
    match want.edit(&mut state, &topology.ideal_host(&State::default())) {
        Ok(()) => drop(export(&state, &Default::default())),
        Err(misfit) => assert!(!source.at(&misfit.path, misfit.failure).message.contains(char::is_control)),
    }
});
