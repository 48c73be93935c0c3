//! vpcctl: virtual private clouds on one Linux host. The program is [`vpcctl::main`].

use std::process::ExitCode;

fn main() -> ExitCode {
    vpcctl::main()
}
