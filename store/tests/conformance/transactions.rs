//! Compares, and all or nothing.

use futures::future::join_all;
use stoke_store::{Compare, Op, Revision, StoreError, TXN_BYTES_MAX, TXN_OPS_MAX, Txn, TxnOutcome};

use crate::subject::{Subject, delete, put};

async fn each_compare_holds_when_it_is_so_and_refuses_when_it_is_not(subject: Subject) {
    let created = subject.put("key", "1").await;
    let modified = subject.put("key", "2").await;
    let key = || "key".to_owned();
    let missing = || "missing".to_owned();
    let cases = [
        (Compare::ModRevision(key(), modified), true),
        (Compare::ModRevision(key(), created), false),
        (Compare::ModRevision(key(), Revision(0)), false),
        (Compare::ModRevision(missing(), Revision(0)), true),
        (Compare::ModRevision(missing(), modified), false),
        (Compare::CreateRevision(key(), created), true),
        (Compare::CreateRevision(key(), modified), false),
        (Compare::CreateRevision(missing(), created), false),
        (Compare::Absent(missing()), true),
        (Compare::Absent(key()), false),
    ];
    for (compare, holds) in cases {
        let outcome = subject
            .commit(vec![compare.clone()], vec![put("else", "1")])
            .await;
        assert_eq!(outcome != TxnOutcome::Refused, holds, "{compare:?}");
    }
}

async fn one_compare_that_does_not_hold_refuses_everything(subject: Subject) {
    subject.put("old", "1").await;
    let revision = subject.put("kept", "1").await;
    let compares = vec![
        Compare::ModRevision("kept".to_owned(), revision),
        Compare::Absent("kept".to_owned()),
    ];
    let ops = vec![put("kept", "2"), put("new", "1"), delete("old")];
    assert_eq!(subject.commit(compares, ops).await, TxnOutcome::Refused);
    assert_eq!(&subject.get("kept").await.unwrap().value[..], b"1");
    assert_eq!(subject.get("new").await, None);
    assert!(subject.get("old").await.is_some());
}

async fn when_all_compares_hold_everything_is_done(subject: Subject) {
    let revision = subject.put("old", "1").await;
    let compares = vec![
        Compare::ModRevision("old".to_owned(), revision),
        Compare::Absent("new".to_owned()),
    ];
    let outcome = subject
        .commit(compares, vec![delete("old"), put("new", "1")])
        .await;
    assert!(matches!(outcome, TxnOutcome::Committed(at) if at > revision));
    assert_eq!(subject.get("old").await, None);
    assert!(subject.get("new").await.is_some());
}

async fn of_many_that_claim_an_absent_key_one_gets_it(subject: Subject) {
    let claims = (0..16).map(|_| {
        subject.commit(
            vec![Compare::Absent("seat".to_owned())],
            vec![put("seat", "1")],
        )
    });
    let outcomes = join_all(claims).await;
    let got = outcomes
        .iter()
        .filter(|outcome| **outcome != TxnOutcome::Refused)
        .count();
    assert_eq!(got, 1);
}

async fn deleting_a_missing_key_commits_and_changes_nothing(subject: Subject) {
    let before = subject.put("a", "1").await;
    let mut watch = subject.watch("", before).await;
    subject.apply(vec![delete("missing")]).await;
    let after = subject.put("a", "2").await;
    let changes = crate::subject::changes(&mut *watch).await;
    let seen: Vec<_> = changes.iter().map(crate::subject::brief).collect();
    assert_eq!(seen, [("a", true, after)]);
}

async fn as_many_operations_as_are_allowed_are_done(subject: Subject) {
    let ops: Vec<Op> = (0..TXN_OPS_MAX)
        .map(|number| put(&number.to_string(), "1"))
        .collect();
    let compares = (0..TXN_OPS_MAX)
        .map(|number| Compare::Absent(number.to_string()))
        .collect();
    assert!(matches!(
        subject.commit(compares, ops).await,
        TxnOutcome::Committed(_)
    ));
}

async fn a_transaction_beyond_the_limits_is_rejected(subject: Subject) {
    let too_many = (0..=TXN_OPS_MAX)
        .map(|number| put(&number.to_string(), "1"))
        .collect();
    let too_large = vec![put("a", &"x".repeat(TXN_BYTES_MAX))];
    let twice = vec![put("a", "1"), delete("a")];
    let nameless = vec![put("", "1")];
    for ops in [too_many, too_large, twice, nameless] {
        let first = format!("{:.60?}", ops[0]);
        let txn = Txn {
            compares: vec![],
            ops,
        };
        let error = subject.store.txn(txn).await.unwrap_err();
        assert!(
            matches!(error, StoreError::Rejected { .. }),
            "{first}: {error:?}"
        );
    }
    assert_eq!(subject.get("a").await, None);
}

on_all_stores!(shared:
    each_compare_holds_when_it_is_so_and_refuses_when_it_is_not,
    one_compare_that_does_not_hold_refuses_everything,
    when_all_compares_hold_everything_is_done,
    of_many_that_claim_an_absent_key_one_gets_it,
    deleting_a_missing_key_commits_and_changes_nothing,
    as_many_operations_as_are_allowed_are_done,
    a_transaction_beyond_the_limits_is_rejected,
);
