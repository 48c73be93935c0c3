//! A policy file is refused, or its rules can be rendered.
#![no_main]

use libfuzzer_sys::fuzz_target;
use vpcctl::model::policy_file;

fuzz_target!(|bytes: &[u8]| {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    if let Err(failure) = policy_file::parse(text, "file.json") {
        assert!(!failure.message.contains(char::is_control), "{failure:?}");
    }
});
