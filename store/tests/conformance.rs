//! What every coordination store promises, claimed of each: the one in memory, the same with a journal, and a real etcd.
//!
//! Claims that etcd shares with others' tests run on one server, each under a prefix of its own; those that compact,
//! kill or lock it have one for themselves. In memory, time is tokio's paused clock.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should panic")]

/// Makes each claim a test of all stores. The first word says whether etcd is `shared`, or started for this claim
/// `alone`.
macro_rules! on_all_stores {
    ($etcd:ident: $($claim:ident),+ $(,)?) => {
        mod memory {
            $(#[tokio::test(start_paused = true)]
            async fn $claim() {
                super::$claim(crate::subject::Subject::memory()).await;
            })+
        }

        mod journal {
            $(#[tokio::test(start_paused = true)]
            async fn $claim() {
                super::$claim(crate::subject::Subject::journal()).await;
            })+
        }

        mod etcd {
            $(#[tokio::test]
            async fn $claim() {
                super::$claim(crate::subject::Subject::$etcd().await).await;
            })+
        }
    };
}

#[path = "conformance/compaction.rs"]
mod compaction;
#[path = "conformance/election.rs"]
mod election;
#[path = "conformance/election_faults.rs"]
mod election_faults;
#[path = "conformance/etcd_auth.rs"]
mod etcd_auth;
#[path = "conformance/etcd_faults.rs"]
mod etcd_faults;
#[path = "conformance/etcd_trouble.rs"]
mod etcd_trouble;
#[path = "conformance/flaky.rs"]
mod flaky;
#[path = "conformance/history.rs"]
mod history;
#[path = "conformance/journal.rs"]
mod journal;
#[path = "conformance/leases.rs"]
mod leases;
#[path = "conformance/presence.rs"]
mod presence;
#[path = "conformance/reads.rs"]
mod reads;
#[path = "conformance/subject.rs"]
mod subject;
#[path = "conformance/transactions.rs"]
mod transactions;
#[path = "conformance/wake.rs"]
mod wake;
#[path = "conformance/watches.rs"]
mod watches;
