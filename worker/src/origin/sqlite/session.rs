//! One connection to a SQLite file, with a brake: the library would otherwise run a query to its end in its own thread,
//! whether anybody waits for it or not.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use sqlx::ConnectOptions as _;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};

use crate::origin::error::OriginError;
use crate::origin::idle::Lease;
use crate::origin::meter::Meter;

/// How many of SQLite's virtual instructions run between two looks at the brake.
const INSTRUCTIONS_BETWEEN_LOOKS: i32 = 10_000;
/// How long a query waits for a writer's lock.
const BUSY_TIME_MAX: Duration = Duration::from_secs(2);

/// How to open sessions.
#[derive(Debug)]
pub(super) struct Doors {
    path: PathBuf,
}

impl Doors {
    pub(super) fn new(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
        }
    }

    pub(super) async fn open(
        &self,
        meter: &mut Meter<'_>,
        lease: Lease,
    ) -> Result<Session, OriginError> {
        let doing = || format!("open the SQLite file {}", self.path.display());
        let failed = |error: sqlx::Error| OriginError::no_entry(doing(), error);
        let options = SqliteConnectOptions::new()
            .filename(&self.path)
            .read_only(true)
            .busy_timeout(BUSY_TIME_MAX)
            .disable_statement_logging();
        meter.pass(1).await?;
        let mut connection = options.connect().await.map_err(failed)?;
        meter.connected();
        let brake = Arc::new(Brake::default());
        let look = Arc::clone(&brake);
        let mut handle = connection.lock_handle().await.map_err(failed)?;
        handle.set_progress_handler(INSTRUCTIONS_BETWEEN_LOOKS, move || look.may_go_on());
        drop(handle);
        Ok(Session {
            connection,
            brake,
            _lease: lease,
        })
    }
}

/// A connection. Dropping it stops what it is doing.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) connection: SqliteConnection,
    brake: Arc<Brake>,
    _lease: Lease,
}

impl Session {
    /// A query begins that may take `time`.
    pub(super) fn begin(&mut self, time: Duration) {
        self.brake.release_until(time);
    }

    /// The query has ended.
    pub(super) fn end(&mut self) {
        self.brake.until.store(Brake::NEVER, Relaxed);
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.brake.until.store(0, Relaxed);
    }
}

/// Until when a query may run, as a deadline that the library's thread looks at.
#[derive(Debug)]
struct Brake {
    start: Instant,
    /// Nanoseconds after `start`.
    until: AtomicU64,
}

impl Default for Brake {
    fn default() -> Self {
        Self {
            start: Instant::now(),
            until: AtomicU64::new(Self::NEVER),
        }
    }
}

impl Brake {
    const NEVER: u64 = u64::MAX;

    fn now(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    fn release_until(&self, time: Duration) {
        let time = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        self.until.store(self.now().saturating_add(time), Relaxed);
    }

    fn may_go_on(&self) -> bool {
        self.now() < self.until.load(Relaxed)
    }
}
