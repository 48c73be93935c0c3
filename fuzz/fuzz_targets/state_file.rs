//! A state file is refused, or leads to lines that are lines, and reads the same when it is written again.
#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use vpcctl::model::state::State;
use vpcctl::plan::batch::{self, Step};
use vpcctl::plan::between;
use vpcctl::store;

fuzz_target!(|bytes: &[u8]| {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let Ok(document) = store::parse(Path::new("state.json"), text) else {
        return;
    };
    let again = serde_json::to_string(&document).expect("it is written");
    let again = store::parse(Path::new("state.json"), &again).expect("it is read again");
    assert_eq!(again.network, document.network);
    for (_, steps) in batch::steps(&between(&State::default(), &document.network)) {
        for step in steps.iter() {
            if let Step::Run(call) = step {
                assert!(!call.input.iter().any(|line| line.text.contains(char::is_control)), "{call:?}");
            }
        }
    }
});
