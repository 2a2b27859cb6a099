//! libFuzzer around one of the functions of `stoke-parsing`: the one that `FUZZ_TARGET` names.
#![no_main]

use std::sync::LazyLock;

static TARGET: LazyLock<fn(&[u8])> = LazyLock::new(|| {
    let name = std::env::var("FUZZ_TARGET").unwrap_or_default();
    let found = stoke_parsing::ALL.iter().find(|(known, _)| *known == name);
    let Some((_, target)) = found else {
        let known = stoke_parsing::ALL.map(|(known, _)| known);
        panic!("FUZZ_TARGET is {name:?}: set it to one of {}", known.join(", "));
    };
    *target
});

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| TARGET(bytes));
