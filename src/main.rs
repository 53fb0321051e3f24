//! Arguments in, exit status out.

use std::process::ExitCode;

/// A sync makes and drops millions of small things on several threads; `bench/ldap.sh` has a third
/// less to do with this one than with the C library's.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    idpsyncd::cli::main()
}
