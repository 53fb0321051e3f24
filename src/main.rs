//! Arguments in, exit status out.

use std::process::ExitCode;

/// A sync makes and drops millions of small things on several threads: `bench/ldap.sh` has a quarter
/// less to do with this one than with the C library's. SQLite and the rest of the C code use it too,
/// so that what one has freed serves the other. Huge pages would only cost memory.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    idpsyncd::cli::main()
}
