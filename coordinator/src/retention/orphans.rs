//! Which records belong to no job: a pure decision on what was read at one revision.

use std::collections::BTreeSet;

use stoke_core::records::keys;
use stoke_store::{Compare, KeyValue, Keys, Op, Revision, Txn};

/// How many records one transaction deletes: each is compared, and so is the leader.
const AT_ONCE_MAX: usize = 100;

/// What is read to find them: all that is below `job/`, and all that belongs to jobs there. Jobs that are over have nothing
/// else.
pub(super) fn ranges() -> [Keys; 5] {
    [
        keys::JOBS,
        keys::RUNS,
        keys::READS,
        keys::ASSIGNMENTS,
        keys::CHECKPOINTS,
    ]
    .map(|prefix| Keys::Prefix(prefix.to_owned()))
}

/// Those of these records whose job is not there, and that have stood as they are since `settled`.
pub(super) fn orphans(entries: &[KeyValue], settled: Revision) -> Vec<&KeyValue> {
    let job = |prefix, entry: &KeyValue| {
        let rest = entry.key.strip_prefix(prefix)?;
        Some(rest.split('/').next().unwrap_or(rest).to_owned())
    };
    let jobs: BTreeSet<String> = entries.iter().filter_map(|e| job(keys::JOBS, e)).collect();
    let of_jobs = [
        keys::RUNS,
        keys::READS,
        keys::ASSIGNMENTS,
        keys::CHECKPOINTS,
    ];
    entries
        .iter()
        .filter(|entry| entry.mod_revision <= settled)
        .filter(|entry| {
            let mut owner = of_jobs.iter().filter_map(|prefix| job(prefix, entry));
            owner.next().is_some_and(|job| !jobs.contains(&job))
        })
        .collect()
}

/// Deletes records that are as they were read.
pub(super) fn deletions(entries: &[&KeyValue]) -> Vec<Txn> {
    let delete = |entries: &[&KeyValue]| Txn {
        compares: entries
            .iter()
            .map(|entry| Compare::ModRevision(entry.key.clone(), entry.mod_revision))
            .collect(),
        ops: entries
            .iter()
            .map(|entry| Op::Delete(entry.key.clone()))
            .collect(),
    };
    entries.chunks(AT_ONCE_MAX).map(delete).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(key: &str, mod_revision: u64) -> KeyValue {
        KeyValue {
            key: key.into(),
            value: bytes::Bytes::new(),
            create_revision: Revision(1),
            mod_revision: Revision(mod_revision),
            lease: None,
        }
    }

    #[test]
    fn records_of_jobs_that_are_not_there_go_once_they_have_settled_and_no_others() {
        let gone = [
            "run/b",
            "read/b/0",
            "assign/b/w.1",
            "ckpt/b/w.1",
            "ckpt/b/w.2",
        ];
        let kept = [
            "job/a",
            "run/a",
            "read/a/prepare",
            "assign/a/w.1",
            "ckpt/a/w.1",
        ];
        // What this program does not know is not its to remove.
        let strange = ["ledger/origin/shop", "member/b", "past/b"];
        let mut entries: Vec<KeyValue> = [&gone[..], &kept, &strange]
            .concat()
            .iter()
            .map(|key| entry(key, 5))
            .collect();
        entries.push(entry("ckpt/b/w.3", 6));
        let found: Vec<&str> = orphans(&entries, Revision(5))
            .iter()
            .map(|entry| entry.key.as_str())
            .collect();
        assert_eq!(found, gone);
        assert!(orphans(&entries, Revision(4)).is_empty());
    }

    #[test]
    fn a_record_that_has_changed_since_keeps_all_that_were_to_go_with_it() {
        let entries: Vec<KeyValue> = (0..250).map(|n| entry(&format!("ckpt/b/{n}"), n)).collect();
        let txns = deletions(&entries.iter().collect::<Vec<_>>());
        assert_eq!(
            txns.iter().map(|txn| txn.ops.len()).collect::<Vec<_>>(),
            [100, 100, 50]
        );
        for txn in txns {
            assert_eq!(txn.compares.len(), txn.ops.len());
            // With the leader's.
            assert!(txn.compares.len() < stoke_store::TXN_OPS_MAX);
        }
    }
}
