//! What vpcctl costs, side by side with what the kernel asks for the same: `make bench`.

mod bench;

use std::process::ExitCode;

fn main() -> ExitCode {
    // Cargo adds a `--bench` of its own.
    let words: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    bench::main(&words, &[])
}
