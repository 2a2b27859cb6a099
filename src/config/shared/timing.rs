//! `[timing]`: the times that all processes of a cluster must agree on, and what must hold between them.

use std::time::Duration;

use stoke_core::ledger::{Contradiction, Timing};

use super::{TIMEOUT_MAX, TIMEOUT_MIN};
use crate::config::reader::{Item, Table};

/// The longest term: for so long a worker that cannot be reached goes on after an abort.
const TERM_MAX: Duration = Duration::from_secs(3600);
/// The shortest time between renewals: each is a write to etcd, by every worker for every resource.
const RENEW_EVERY_MIN: Duration = Duration::from_millis(10);

/// `[timing]`, with where what other settings must fit was said.
pub(in crate::config) struct Times<'r> {
    /// The times.
    pub(in crate::config) timing: Timing,
    /// Where the statement timeout was said.
    pub(in crate::config) statement_timeout: Option<Item<'r>>,
    /// Where the deadline of renewals was said.
    pub(in crate::config) renew_deadline: Option<Item<'r>>,
}

/// `[timing]`.
pub(in crate::config) fn timing<'r>(file: &Table<'r>) -> Option<Times<'r>> {
    file.table("timing", |table| {
        let default = Timing::default();
        let time = |key, least, most| {
            let item = table.optional(key);
            let time = item.as_ref().map(|item| item.duration(least..=most));
            (item, time)
        };
        let term = time("term", TIMEOUT_MIN, TERM_MAX);
        let renew_every = time("renew-every", RENEW_EVERY_MIN, TERM_MAX);
        let renew_deadline = time("renew-deadline", TIMEOUT_MIN, TERM_MAX);
        let quarantine = time("quarantine", TIMEOUT_MIN, TIMEOUT_MAX);
        let statement_timeout = time("statement-timeout", TIMEOUT_MIN, TIMEOUT_MAX);
        let drift = table.optional("drift-permille");
        let drift_permille = match &drift {
            Some(item) => item.small(0..=100)?,
            None => default.drift_permille,
        };
        let or = |time: Option<Option<Duration>>, default| time.unwrap_or(Some(default));
        let least = |term| Timing::least_quarantine(term, drift_permille);
        let all = or(term.1, default.term)?;
        let timing = Timing {
            term: all,
            renew_every: or(renew_every.1, default.renew_every)?,
            renew_deadline: or(renew_deadline.1, default.renew_deadline)?,
            quarantine: or(quarantine.1, least(all))?,
            drift_permille,
            statement_timeout: or(statement_timeout.1, default.statement_timeout)?,
        };
        let renewal = [&renew_every.0, &renew_deadline.0];
        let fine = fits(&timing, [&term.0, renewal[0], renewal[1]]);
        let safe = outlives(&timing, [&quarantine.0, &term.0, &drift]);
        (fine && safe).then_some(Times {
            timing,
            statement_timeout: statement_timeout.0,
            renew_deadline: renew_deadline.0,
        })
    })
}

/// Whether a term has room for its renewals.
fn fits(timing: &Timing, [term, every, deadline]: [&Option<Item<'_>>; 3]) -> bool {
    let Err(contradiction @ Contradiction::TermTooShort { .. }) = timing.check() else {
        return true;
    };
    let remedy = "lengthen term, or shorten renew-every and renew-deadline";
    contradicts(&contradiction, [term, every, deadline], remedy);
    false
}

/// Whether the quarantine is over only when a grant is.
fn outlives(timing: &Timing, [quarantine, term, drift]: [&Option<Item<'_>>; 3]) -> bool {
    // Another contradiction must not hide this one.
    let moment = Duration::from_nanos(1);
    let alone = Timing {
        renew_every: moment,
        renew_deadline: moment,
        ..*timing
    };
    let Err(contradiction) = alone.check() else {
        return true;
    };
    let remedy = "lengthen quarantine, or leave it out: it follows from the term then";
    contradicts(&contradiction, [quarantine, term, drift], remedy);
    false
}

/// Notes a contradiction at the first of its settings that is there, naming where the others are.
fn contradicts(contradiction: &Contradiction, settings: [&Option<Item<'_>>; 3], remedy: &str) {
    let mut there = settings.into_iter().flatten();
    let Some(first) = there.next() else { return };
    let others: Vec<String> = there.map(Item::named).collect();
    let mut what = contradiction.to_string();
    if !others.is_empty() {
        what += &format!(", see {}", others.join(" and "));
    }
    first.fault(what, remedy);
}
