//! What can go wrong between a worker and an origin, and whether another attempt may help.

use std::borrow::Cow;

use sqlx::error::DatabaseError;
use sqlx::mysql::MySqlDatabaseError;
use sqlx::postgres::PgDatabaseError;
use stoke_core::advice::with_advice;
use stoke_core::names::Resource;

mod mysql;

pub(super) use mysql::{ends_connections, mixes_character_sets};

use super::replicas::ReplicaLost;
use crate::permit::Stopped;

/// The cause of an error, as the driver or this crate gives it.
pub type Cause = Box<dyn std::error::Error + Send + Sync>;

/// Why an origin gave no answer.
///
/// It does not say how many statements were sent: [`Origin::queries`](super::Origin::queries) does.
#[derive(Debug, thiserror::Error)]
pub enum OriginError {
    /// The permit was withdrawn.
    #[error(transparent)]
    Stopped(#[from] Stopped),
    /// Another attempt may succeed: the connection was lost, the database was busy, or it took too long.
    #[error("cannot {doing}, for the time being")]
    Transient {
        /// What was being done.
        doing: String,
        /// Why it failed.
        #[source]
        source: Cause,
    },
    /// No connection: the host or the network fails, TLS does not come about, or the database does not let us in. Nothing was
    /// asked, so it is no fault of what was to be asked.
    #[error("cannot {doing}")]
    NoEntry {
        /// What was being done: it names the origin and its address.
        doing: String,
        /// Whether it may pass by itself. Where it does not, somebody has to mend configuration or database.
        may_pass: bool,
        /// Why it failed.
        #[source]
        source: Cause,
    },
    /// Another attempt will not succeed: the query, the credentials or the data must change.
    #[error("cannot {doing}")]
    Permanent {
        /// What was being done.
        doing: String,
        /// Why it failed.
        #[source]
        source: Cause,
    },
}

/// A worker is asked for what its configuration does not have.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("this worker does not know it")]
struct UnknownOrigin;

impl OriginError {
    /// Whether nothing was asked, because the permit was withdrawn.
    #[must_use]
    pub const fn is_stopped(&self) -> bool {
        matches!(self, Self::Stopped(_))
    }

    /// Whether another attempt may succeed.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        matches!(
            self,
            Self::Transient { .. } | Self::NoEntry { may_pass: true, .. }
        )
    }

    /// Whether the database is out of reach, or does not let us in: another query would meet the same.
    #[must_use]
    pub fn is_outage(&self) -> bool {
        let source = match self {
            Self::NoEntry { .. } => return true,
            Self::Transient { source, .. } => source,
            Self::Stopped(_) | Self::Permanent { .. } => return false,
        };
        match source.downcast_ref::<sqlx::Error>() {
            Some(sqlx::Error::Io(_)) => true,
            Some(sqlx::Error::Database(error)) => match Said::by(error.as_ref()) {
                Said::Postgres(code) => is_outage_in_postgres(&code),
                Said::MySql(error) => mysql::is_outage(error),
                Said::Sqlite(_) => false,
            },
            _ => false,
        }
    }

    /// Whether a replica was lost before anything was asked of it, and another can be asked.
    pub(super) fn is_of_entry(&self) -> bool {
        let Self::Transient { source, .. } = self else {
            return false;
        };
        let lost = source.downcast_ref::<ReplicaLost>();
        lost.is_some_and(|lost| lost.at_entry)
    }

    /// Whether the database, or the way to it, is gone: it is out of reach, or does not answer any more.
    pub(super) fn is_loss(&self) -> bool {
        let silent = matches!(self, Self::Transient { source, .. } if source.is::<NoAnswer>());
        silent || self.is_outage()
    }

    /// Whether it speaks of the database's health: it is out of reach, out of connections or memory, busy, or ended the
    /// query for its length. An error of the query's own does not, nor does a refused password.
    #[must_use]
    pub fn is_ill(&self) -> bool {
        let source = match self {
            Self::NoEntry { may_pass, .. } => return *may_pass,
            Self::Transient { source, .. } | Self::Permanent { source, .. } => source,
            Self::Stopped(_) => return false,
        };
        if source.is::<NoAnswer>() {
            return true;
        }
        match source.downcast_ref::<sqlx::Error>() {
            Some(sqlx::Error::Io(_) | sqlx::Error::Protocol(_) | sqlx::Error::WorkerCrashed) => {
                true
            }
            Some(sqlx::Error::Database(error)) => match Said::by(error.as_ref()) {
                Said::Postgres(code) => is_ill_in_postgres(&code),
                Said::MySql(error) => mysql::is_ill(error),
                Said::Sqlite(code) => is_ill_in_sqlite(code),
            },
            _ => false,
        }
    }

    /// The error with all its causes in one line, and what to do where that is known: for lists of failures.
    #[must_use]
    pub fn explain(&self) -> String {
        let text = match self.said_by_postgres() {
            Some(said) => format!("{self}: error returned from database: {said}"),
            None => stoke_core::explain::explain(self),
        };
        with_advice(&text)
    }

    /// What PostgreSQL said, with its hint. The driver adds the line of the server's own source code, which reads as if it
    /// were the query's.
    fn said_by_postgres(&self) -> Option<String> {
        let source = match self {
            Self::Transient { source, .. }
            | Self::NoEntry { source, .. }
            | Self::Permanent { source, .. } => source,
            Self::Stopped(_) => return None,
        };
        let Some(sqlx::Error::Database(error)) = source.downcast_ref() else {
            return None;
        };
        let error = error.try_downcast_ref::<PgDatabaseError>()?;
        Some(match error.hint() {
            Some(hint) => format!("{} ({hint})", error.message()),
            None => error.message().to_owned(),
        })
    }

    /// From a driver's error: what kind it is follows from the database's code.
    pub(super) fn from_driver(doing: impl Into<String>, error: sqlx::Error) -> Self {
        let doing = doing.into();
        if is_transient(&error) {
            Self::Transient {
                doing,
                source: Box::new(error),
            }
        } else {
            Self::Permanent {
                doing,
                source: Box::new(error),
            }
        }
    }

    /// From what came in place of a connection.
    pub(super) fn no_entry(doing: impl Into<String>, source: impl Into<Cause>) -> Self {
        let source = source.into();
        let may_pass = match source.downcast_ref::<sqlx::Error>() {
            Some(sqlx::Error::Tls(_)) => false,
            Some(error) => is_transient(error),
            None => true,
        };
        Self::NoEntry {
            doing: doing.into(),
            may_pass,
            source,
        }
    }

    /// A connection that did not come about, and will not before somebody mends what is in its way.
    pub(super) fn shut_out(doing: impl Into<String>, source: impl Into<Cause>) -> Self {
        Self::NoEntry {
            doing: doing.into(),
            may_pass: false,
            source: source.into(),
        }
    }

    /// For work on an origin that this worker's configuration does not have (any more).
    pub(crate) fn unknown(resource: &Resource) -> Self {
        Self::permanent(format!("use the {resource}"), UnknownOrigin)
    }

    pub(super) fn permanent(doing: impl Into<String>, source: impl Into<Cause>) -> Self {
        Self::Permanent {
            doing: doing.into(),
            source: source.into(),
        }
    }

    pub(super) fn transient(doing: impl Into<String>, source: impl Into<Cause>) -> Self {
        Self::Transient {
            doing: doing.into(),
            source: source.into(),
        }
    }
}

/// A statement that gave no answer within its time, whatever the database says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no answer within {}", humantime::format_duration(*.0))]
pub(super) struct NoAnswer(pub(super) std::time::Duration);

fn is_transient(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(_) | sqlx::Error::Protocol(_) | sqlx::Error::WorkerCrashed => true,
        sqlx::Error::Database(error) => match Said::by(error.as_ref()) {
            Said::Postgres(code) => is_transient_in_postgres(&code),
            Said::MySql(error) => mysql::is_transient(error),
            Said::Sqlite(code) => is_transient_in_sqlite(code),
        },
        _ => false,
    }
}

/// What a database said, in its own terms.
enum Said<'e> {
    Postgres(Cow<'e, str>),
    MySql(&'e MySqlDatabaseError),
    Sqlite(u32),
}

impl<'e> Said<'e> {
    fn by(error: &'e dyn DatabaseError) -> Self {
        if let Some(error) = error.try_downcast_ref() {
            return Self::MySql(error);
        }
        let code = error.code().unwrap_or_default();
        if error.try_downcast_ref::<PgDatabaseError>().is_some() {
            return Self::Postgres(code);
        }
        Self::Sqlite(code.parse().unwrap_or_default())
    }
}

/// By SQLSTATE: <https://www.postgresql.org/docs/current/errcodes-appendix.html>.
fn is_transient_in_postgres(code: &str) -> bool {
    /// Connection exceptions, rolled-back transactions, insufficient resources (too many connections among them),
    /// operator interventions (a statement timeout, a shutdown), errors of the system around the database.
    const CLASSES: [&str; 5] = ["08", "40", "53", "57", "58"];
    /// An object in use, a lock not available, a prepared statement that a pooler between us lost, and internal errors
    /// such as a relation that was dropped and made anew under the query's feet.
    const CODES: [&str; 4] = ["55006", "55P03", "26000", "XX000"];
    /// The database was dropped: it does not come back by itself.
    const DATABASE_DROPPED: &str = "57P04";
    code != DATABASE_DROPPED
        && (CLASSES.iter().any(|class| code.starts_with(class)) || CODES.contains(&code))
}

/// Connection exceptions, too many connections, a server that shuts down, crashed, or starts.
fn is_outage_in_postgres(code: &str) -> bool {
    code.starts_with("08") || code == "53300" || matches!(code, "57P01" | "57P02" | "57P03")
}

/// Connection exceptions, insufficient resources (memory, disk, connections), a statement timeout, a server that shuts down
/// or starts, and errors of the system around the database.
fn is_ill_in_postgres(code: &str) -> bool {
    ["08", "53", "57", "58"]
        .iter()
        .any(|class| code.starts_with(class))
        && code != "57P04"
}

/// Busy or locked, out of memory, ended for its length, or a file system that fails or is full.
fn is_ill_in_sqlite(extended_code: u32) -> bool {
    const ILL: [u32; 6] = [5, 6, 7, 9, 10, 13];
    ILL.contains(&(extended_code & 0xff))
}

/// By primary result code: <https://www.sqlite.org/rescode.html>.
fn is_transient_in_sqlite(extended_code: u32) -> bool {
    const BUSY: u32 = 5;
    const LOCKED: u32 = 6;
    const INTERRUPT: u32 = 9;
    const IOERR: u32 = 10;
    const SCHEMA: u32 = 17;
    matches!(
        extended_code & 0xff,
        BUSY | LOCKED | INTERRUPT | IOERR | SCHEMA
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_that_may_pass_are_told_from_those_that_will_not() {
        for code in [
            "08006", "40001", "40P01", "53300", "57014", "57P01", "57P02", "57P03", "55P03",
        ] {
            assert!(is_transient_in_postgres(code), "{code}");
        }
        for code in [
            "42601", "42P01", "42703", "28P01", "28000", "3D000", "22012", "57P04",
        ] {
            assert!(!is_transient_in_postgres(code), "{code}");
        }
        for (code, transient) in [
            (5, true),
            (517, true),
            (9, true),
            (266, true),
            (1, false),
            (14, false),
            (26, false),
        ] {
            assert_eq!(is_transient_in_sqlite(code), transient, "{code}");
        }
    }

    #[test]
    fn errors_that_speak_of_the_databases_health_are_told_from_the_querys_own() {
        for code in [
            "08006", "53200", "53300", "57014", "57P01", "57P03", "58030",
        ] {
            assert!(is_ill_in_postgres(code), "{code}");
        }
        for code in [
            "42601", "42P01", "40001", "40P01", "55P03", "22012", "28P01", "57P04",
        ] {
            assert!(!is_ill_in_postgres(code), "{code}");
        }
        for (code, ill) in [
            (5, true),
            (517, true),
            (7, true),
            (9, true),
            (266, true),
            (1, false),
            (17, false),
        ] {
            assert_eq!(is_ill_in_sqlite(code), ill, "{code}");
        }
        assert!(OriginError::transient("x", NoAnswer(std::time::Duration::ZERO)).is_ill());
        assert!(!OriginError::Stopped(Stopped).is_ill());
        assert!(!OriginError::permanent("x", "no such column").is_ill());
    }

    #[test]
    fn an_explanation_has_every_cause_once() {
        let error = OriginError::permanent("prepare the loader \"a\"", "no such column");
        assert_eq!(
            error.explain(),
            "cannot prepare the loader \"a\": no such column"
        );
    }
}
