//! Times that contradict each other, across the tables of a file.

use super::super::{CoordinatorConfig, Faults, Surroundings, WorkerConfig, read};
use std::time::Duration;

/// A coordinator's file with these lines before, in `[etcd]`, and in `[timing]`, which begin on lines 4, 6 and 7.
fn coordinator(top: &str, etcd: &str, timing: &str) -> Result<CoordinatorConfig, Faults> {
    let text = format!(
        "name = 'c1'\nlisten = '127.0.0.1:1'\nplan-store = '/p'\n{top}\n[etcd]\nendpoints = ['a:1'] {etcd}\n[timing]\n{timing}"
    );
    read(&text, &Surroundings::of_tests(), CoordinatorConfig::take)
}

fn worker(top: &str, etcd: &str, timing: &str) -> Result<WorkerConfig, Faults> {
    let text =
        format!("name = 'w1'\n{top}\n[etcd]\nendpoints = ['a:1'] {etcd}\n[timing]\n{timing}");
    read(&text, &Surroundings::of_tests(), WorkerConfig::take)
}

#[test]
fn times_that_contradict_each_other_are_refused_with_where_they_stand_and_what_to_do() {
    for (top, etcd, timing, told) in [
        (
            "",
            "\ntimeout = '2s'",
            "",
            "line 7, column 11: etcd.timeout: it is longer than timing.renew-deadline, 1s by default, so that a renewal would \
             be late before etcd has to answer; shorten it, or lengthen renew-deadline in all processes",
        ),
        (
            "",
            "\ntimeout = '200ms'",
            "renew-deadline = '100ms'",
            "line 7, column 11: etcd.timeout: it is longer than timing.renew-deadline (line 9), 100ms, so that a renewal \
             would be late before etcd has to answer; shorten it, or lengthen renew-deadline in all processes",
        ),
        (
            "leader-ttl = '1s'",
            "\ntimeout = '700ms'",
            "",
            "line 7, column 11: etcd.timeout: it is longer than half of leader-ttl (line 4), 1s, so that one late answer could \
             end the lease; shorten it, or lengthen leader-ttl",
        ),
        (
            "",
            "\ntimeout = '3s'",
            "term = '20s'\nrenew-deadline = '4s'",
            "line 7, column 11: etcd.timeout: it is longer than half of leader-ttl, 5s by default, so that one late answer \
             could end the lease; shorten it, or lengthen leader-ttl",
        ),
        (
            "",
            "",
            "term = '2s'\nrenew-deadline = '500ms'",
            "line 8, column 8: timing.term: a term of 2s leaves no room for a second renewal: it must be at least twice the \
             1s between renewals and the 500ms that one may take, see timing.renew-deadline (line 9); lengthen term, or \
             shorten renew-every and renew-deadline",
        ),
        (
            "",
            "",
            "quarantine = '5s'",
            "line 8, column 14: timing.quarantine: a quarantine of 5s is too short for a term of 5s and a drift of 10‰: at \
             least 5.351010101s is needed; lengthen quarantine, or leave it out: it follows from the term then",
        ),
        (
            "",
            "",
            "term = '1h'\nquarantine = '1h'\ndrift-permille = 100",
            "line 9, column 14: timing.quarantine: a quarantine of 3600s is too short for a term of 3600s and a drift of \
             100‰: at least 4400.25s is needed, see timing.term (line 8) and timing.drift-permille (line 10); lengthen \
             quarantine, or leave it out: it follows from the term then",
        ),
        (
            "",
            "",
            "term = '1day'",
            "line 8, column 8: timing.term: it is out of range; choose from 1ms to 1h",
        ),
        (
            "",
            "",
            "renew-every = '1ms'",
            "line 8, column 15: timing.renew-every: it is out of range; choose from 10ms to 1h",
        ),
        (
            "",
            "",
            "statement-timeout = '0s'",
            "line 8, column 21: timing.statement-timeout: it is out of range; choose from 1ms to 1day",
        ),
        (
            "",
            "",
            "drift-permille = -1",
            "line 8, column 18: timing.drift-permille: it is out of range; choose from 0 to 100",
        ),
        (
            "leader-ttl = '0s'",
            "",
            "",
            "line 4, column 14: leader-ttl: it is out of range; choose from 1s to 1h",
        ),
    ] {
        let faults = coordinator(top, etcd, timing).unwrap_err().to_string();
        assert_eq!(faults, told);
    }
    let faults = worker("member-ttl = '1s'", "\ntimeout = '900ms'", "").unwrap_err();
    assert_eq!(
        faults.to_string(),
        "line 5, column 11: etcd.timeout: it is longer than half of member-ttl (line 2), 1s, so that one late answer could end \
         the lease; shorten it, or lengthen member-ttl"
    );
}

#[test]
fn a_call_to_etcd_takes_as_long_as_a_renewal_and_half_a_lease_where_nothing_is_said() {
    for (top, timing, millis) in [
        ("", "", 1000),
        ("", "renew-deadline = '300ms'", 300),
        ("", "term = '20s'\nrenew-deadline = '4s'", 2500),
        ("leader-ttl = '1s'", "", 500),
    ] {
        let config = coordinator(top, "", timing).unwrap();
        assert_eq!(config.etcd.timeout, Duration::from_millis(millis));
    }
    let config = coordinator("", "\ntimeout = '1s'", "").unwrap();
    assert_eq!(config.etcd.timeout, Duration::from_secs(1));
}
