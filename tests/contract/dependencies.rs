//! The dependencies that a program gets with the libraries: they grow on purpose or not at all.

use std::collections::BTreeSet;
use std::process::Command;

/// With their default features, on Linux.
const OF_CIRCUIT_BREAKER: &str = "aplomb-admission aplomb-core bytes cfg-if chacha20 cpufeatures getrandom hashbrown http \
     http-body httpdate itoa libc once_cell pin-project-lite rand rand_core tokio tower-layer tower-service tracing \
     tracing-core";
const OF_RETRY: &str = "futures-core futures-sink tokio-util uuid";
const OF_RATE_LIMIT: &str = "allocator-api2 equivalent foldhash futures-core futures-sink futures-task futures-timer \
     futures-util governor lock_api nonzero_ext parking_lot parking_lot_core portable-atomic scopeguard slab smallvec \
     spinning_top web-time";
const OF_APLOMB: &str = "aplomb-circuit-breaker aplomb-concurrency aplomb-provider aplomb-rate-limit aplomb-retry \
     http-body-util memchr percent-encoding proc-macro2 quote serde serde_core serde_derive serde_json syn unicode-ident \
     zmij";

#[test]
fn the_libraries_have_these_dependencies_and_no_others() {
    for (library, expected) in [
        ("aplomb-circuit-breaker", &[OF_CIRCUIT_BREAKER][..]),
        ("aplomb-retry", &[OF_CIRCUIT_BREAKER, OF_RETRY]),
        ("aplomb-rate-limit", &[OF_CIRCUIT_BREAKER, OF_RATE_LIMIT]),
        ("aplomb", &[OF_CIRCUIT_BREAKER, OF_RETRY, OF_RATE_LIMIT, OF_APLOMB]),
    ] {
        let expected: BTreeSet<&str> = expected.iter().flat_map(|names| names.split_whitespace()).collect();
        let tree = dependencies(library);
        let found: BTreeSet<&str> = tree.lines().filter_map(|line| line.split(' ').next()).collect();
        let found: BTreeSet<&str> = found.into_iter().filter(|name| *name != library).collect();
        let added: Vec<_> = found.difference(&expected).collect();
        assert!(added.is_empty(), "{library} has got {added:?}");
    }
}

fn dependencies(library: &str) -> String {
    let cargo = Command::new(env!("CARGO"))
        .args([
            "tree",
            "--locked",
            "--package",
            library,
            "--edges",
            "normal",
            "--prefix",
            "none",
        ])
        .args(["--target", "x86_64-unknown-linux-gnu"])
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
        .output()
        .unwrap();
    assert!(cargo.status.success(), "{}", String::from_utf8_lossy(&cargo.stderr));
    String::from_utf8(cargo.stdout).unwrap()
}
