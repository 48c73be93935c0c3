//! A command line, a word on each line, is read or refused.
#![no_main]

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

use libfuzzer_sys::fuzz_target;
use vpcctl::cli;

fuzz_target!(|bytes: &[u8]| {
    let words = bytes.split(|byte| *byte == b'\n').map(|word| OsString::from_vec(word.to_vec()));
    if let Err(error) = cli::parse(std::iter::once("vpcctl".into()).chain(words).collect()) {
        let _ = error.render().to_string();
    }
});
