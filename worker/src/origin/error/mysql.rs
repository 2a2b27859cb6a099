//! What errors of MySQL and MariaDB mean, by their numbers:
//! <https://dev.mysql.com/doc/mysql-errors/8.4/en/server-error-reference.html>,
//! <https://mariadb.com/docs/server/reference/error-codes>. SQLSTATEs are coarse there (`HY000` is anything), and those before
//! the login have none.

use sqlx::mysql::MySqlDatabaseError;

/// The server takes no connection, or ends ours: too many of them (all, or this user's), a server that starts, shuts down
/// or has left its cluster, a connection that was killed or was idle for long, a network that fails.
const OUTAGE: [u16; 20] = [
    1040, 1042, 1043, 1047, 1053, 1077, 1079, 1080, 1152, 1158, 1159, 1160, 1161, 1184, 1203, 1226,
    1927, 3168, 3169, 4031,
];
/// It is not well, or gave up on the query for its length: no memory, disk full, no thread, an error of the storage, a statement
/// that was interrupted or took too long.
const ILL: [u16; 12] = [
    1021, 1026, 1028, 1030, 1037, 1038, 1041, 1114, 1135, 1317, 1969, 3024,
];
/// Neither, but another attempt may succeed: a row that changed under the reader, a lock that did not come, a deadlock, a table
/// that was altered meanwhile, a statement that is prepared no longer or cannot be (too many are), a server that only reads.
const PASSING: [u16; 11] = [
    1020, 1205, 1206, 1213, 1243, 1290, 1412, 1461, 1615, 1684, 1836,
];
/// A packet that is too large, and a host that was shut out for its failures: their SQLSTATE says that the connection failed,
/// and it does not pass.
const STAYING: [u16; 2] = [1129, 1153];

/// Whether another attempt may succeed.
pub(super) fn is_transient(error: &MySqlDatabaseError) -> bool {
    transient(error.number(), error.code())
}

/// Whether the server is out of reach: another query would meet the same.
pub(super) fn is_outage(error: &MySqlDatabaseError) -> bool {
    outage(error.number(), error.code())
}

/// Whether it speaks of the server's health.
pub(super) fn is_ill(error: &MySqlDatabaseError) -> bool {
    ill(error.number(), error.code())
}

/// Whether connections that are open are of no use after it: the server ends them, or has forgotten what was prepared.
pub(in crate::origin) fn ends_connections(error: &MySqlDatabaseError) -> bool {
    const UNKNOWN_STATEMENT: u16 = 1243;
    error.number() == UNKNOWN_STATEMENT || is_outage(error)
}

/// Whether it says that texts of different character sets were to be compared: of a column with one and keys with another it is
/// one key's fault that has characters which the column's cannot have.
pub(in crate::origin) fn mixes_character_sets(error: &MySqlDatabaseError) -> bool {
    const ILLEGAL_MIX: [u16; 3] = [1267, 1270, 1271];
    const CANNOT_CONVERT: [u16; 2] = [3854, 3988];
    ILLEGAL_MIX.contains(&error.number()) || CANNOT_CONVERT.contains(&error.number())
}

fn transient(number: u16, state: Option<&str>) -> bool {
    let rolled_back = state.is_some_and(|state| state.starts_with("40"));
    PASSING.contains(&number) || rolled_back || ill(number, state)
}

fn outage(number: u16, state: Option<&str>) -> bool {
    let connection = state.is_some_and(|state| state.starts_with("08"));
    !STAYING.contains(&number) && (OUTAGE.contains(&number) || connection)
}

fn ill(number: u16, state: Option<&str>) -> bool {
    ILL.contains(&number) || outage(number, state)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_number_means_what_it_says() {
        // Transient, an outage, ill.
        let (outage_, ill_, passing, staying) = (
            (true, true, true),
            (true, false, true),
            (true, false, false),
            (false, false, false),
        );
        for (number, state, meaning, what) in [
            (1040, Some("08004"), outage_, "too many connections"),
            (1040, None, outage_, "the same before the login"),
            (1203, Some("42000"), outage_, "too many of the user's"),
            (1053, Some("08S01"), outage_, "shutdown"),
            (1927, Some("70100"), outage_, "killed"),
            (1158, Some("08S01"), outage_, "the network"),
            (1969, Some("70100"), ill_, "MariaDB's timeout"),
            (3024, Some("HY000"), ill_, "MySQL's timeout"),
            (1030, Some("HY000"), ill_, "the storage"),
            (1317, Some("70100"), ill_, "interrupted"),
            (1213, Some("40001"), passing, "deadlock"),
            (1205, Some("HY000"), passing, "lock wait timeout"),
            (1290, Some("HY000"), passing, "read-only server"),
            (1836, Some("HY000"), passing, "read-only mode"),
            (1615, Some("HY000"), passing, "to be prepared again"),
            (1064, Some("42000"), staying, "syntax"),
            (1146, Some("42S02"), staying, "unknown table"),
            (1054, Some("42S22"), staying, "unknown column"),
            (1045, Some("28000"), staying, "access denied"),
            (
                1044,
                Some("42000"),
                staying,
                "access to the database denied",
            ),
            (1049, Some("42000"), staying, "unknown database"),
            (1142, Some("42000"), staying, "no privilege"),
            (1792, Some("25006"), staying, "a write"),
            (1153, Some("08S01"), staying, "packet too large"),
            (1129, None, staying, "host blocked"),
        ] {
            let found = (
                transient(number, state),
                outage(number, state),
                ill(number, state),
            );
            assert_eq!(found, meaning, "{number}: {what}");
        }
    }
}
