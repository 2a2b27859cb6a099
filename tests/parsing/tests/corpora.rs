//! The corpora of the fuzzer, and what once broke a parser, hold what must hold.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should panic")]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

#[test]
fn all_that_is_kept_holds() {
    let corpora = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus");
    let names: BTreeSet<String> = fs::read_dir(&corpora)
        .unwrap()
        .map(|folder| folder.unwrap().file_name().into_string().unwrap())
        .collect();
    let known = stoke_parsing::ALL.map(|(name, _)| name.to_owned());
    assert_eq!(names, BTreeSet::from(known), "a corpus for each target");
    for (name, holds) in stoke_parsing::ALL {
        let mut inputs = 0;
        for file in fs::read_dir(corpora.join(name)).unwrap() {
            let path = file.unwrap().path();
            let bytes = fs::read(&path).unwrap();
            let held = std::panic::catch_unwind(|| holds(&bytes));
            assert!(held.is_ok(), "{} breaks {name}", path.display());
            inputs += 1;
        }
        assert!(inputs >= 3, "{name} has {inputs} inputs");
    }
}
