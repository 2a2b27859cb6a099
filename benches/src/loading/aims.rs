//! What is aimed at, and what of it is reached.

use super::contest::{Contest, Contestant, Seen, Target};
use super::scenes::{Budget, Memory, Orders};
use crate::table::Table;

/// One line for each aim.
pub(super) fn table(contest: &Contest, budget: &Budget, orders: &Orders, memory: &Memory) -> Table {
    use Contestant::{Embedded, PsqlPipe, RankScan, Textbook, Workers};
    let of = |who, of: fn(&Seen) -> f64| contest.median(Target::Standalone, who, of);
    let ratio = |who, to| of(who, Seen::pace) / of(to, Seen::pace);
    let origin = |who| 100.0 * of(who, Seen::origin_micros) / of(PsqlPipe, Seen::origin_micros);
    let aims: [(&str, f64, Bound, usize); 15] = [
        (
            "keys/s in one process, × psql and redis-cli --pipe",
            ratio(Embedded, PsqlPipe),
            AtLeast(2.0),
            2,
        ),
        (
            "keys/s of three workers, × psql and redis-cli --pipe",
            ratio(Workers, PsqlPipe),
            AtLeast(2.0),
            2,
        ),
        (
            "keys/s in one process, × the textbook loop",
            ratio(Embedded, Textbook),
            AtLeast(15.0),
            1,
        ),
        (
            "keys/s of three workers, × the textbook loop",
            ratio(Workers, Textbook),
            AtLeast(15.0),
            1,
        ),
        (
            "CPU of three workers, µs a key",
            of(Workers, Seen::loader_micros),
            AtMost(3.0),
            2,
        ),
        (
            "keys/s of a scan by rank, × psql and redis-cli --pipe",
            ratio(RankScan, PsqlPipe),
            AtLeast(2.0),
            2,
        ),
        (
            "CPU of a scan by rank, µs a key",
            of(RankScan, Seen::loader_micros),
            AtMost(3.0),
            2,
        ),
        (
            "CPU of the origin for a scan by rank, % of what the pipe makes it burn",
            origin(RankScan),
            AtMost(60.0),
            0,
        ),
        (
            "queries per 1,000 keys",
            of(Embedded, Seen::queries_a_thousand),
            AtMost(2.0),
            2,
        ),
        (
            "CPU of the origin, % of what the pipe makes it burn",
            origin(Embedded),
            AtMost(60.0),
            0,
        ),
        (
            "memory of the largest worker, MiB",
            memory.peak_mib(),
            AtMost(128.0),
            0,
        ),
        (
            "memory of it, × that with half of the keys",
            memory.growth(),
            AtMost(1.1),
            2,
        ),
        (
            "of a budget of 200 queries a second, % used",
            100.0 * budget.used(),
            AtLeast(95.0),
            1,
        ),
        (
            "keys/s under that budget, from the first write",
            budget.pace(),
            AtLeast(80_000.0),
            0,
        ),
        (
            "order of 1, 3 and 8 workers, the least",
            orders.least(),
            AtLeast(0.98),
            4,
        ),
    ];
    let mut table = Table::new(&["", "aim", "measured", "reached"]);
    for (what, measured, bound, digits) in aims {
        let (aim, reached) = match bound {
            AtLeast(aim) => (format!("≥ {aim}"), measured >= aim),
            AtMost(aim) => (format!("≤ {aim}"), measured <= aim),
        };
        table.row([
            what.to_owned(),
            aim,
            format!("{measured:.digits$}"),
            if reached { "yes" } else { "no" }.to_owned(),
        ]);
    }
    table
}

enum Bound {
    AtLeast(f64),
    AtMost(f64),
}

use Bound::{AtLeast, AtMost};
