//! How far a standby lags, as it says itself.

use std::time::Duration;

use super::Engine;
use super::probe::number;
use crate::origin::error::{NoAnswer, OriginError};
use crate::origin::meter::Meter;
use crate::origin::probe::ProbeFault;

const DOING: &str = "ask for the replica's lag";

/// In seconds: -1 where it is no standby, and NULL where it does not know.
///
/// The time since the last transaction that it replayed grows while nothing happens at the primary, too: so it only counts
/// where there is something to replay, or where nobody sends it anything. (A primary that has vanished without a word is
/// noticed after `wal_receiver_timeout`.) Its clock is compared with the primary's.
const LAG: &str = "SELECT (CASE WHEN NOT pg_is_in_recovery() THEN -1 \
    WHEN EXISTS (SELECT FROM pg_stat_wal_receiver) AND pg_last_wal_receive_lsn() <= pg_last_wal_replay_lsn() THEN 0 \
    ELSE greatest(extract(epoch FROM clock_timestamp() - pg_last_xact_replay_timestamp()), 0) END)::float8";

impl Engine {
    /// Its lag in seconds: -1 where it is no standby (any more); `None` where it does not know.
    pub(in crate::origin) async fn lag(
        &self,
        meter: &mut Meter<'_>,
        time: Duration,
    ) -> Result<Option<f64>, OriginError> {
        let mut session = self.session(meter).await?;
        meter.pass(1 + session.around()).await?;
        session.begin(DOING, time).await?;
        let lag = match tokio::time::timeout(time, number(meter, &mut session, LAG)).await {
            Ok(Ok(seconds)) => Some(seconds),
            Ok(Err(ProbeFault::Null)) => None,
            Ok(Err(ProbeFault::Failed(error))) => return Err(error),
            Ok(Err(fault)) => return Err(OriginError::transient(DOING, fault)),
            Err(_) => return Err(OriginError::transient(DOING, NoAnswer(time))),
        };
        if lag.is_some() {
            session.end(DOING, time).await?;
        }
        // Where it is NULL, what may still come on it is of no use.
        self.give_back(Some(session).filter(|_| lag.is_some()));
        Ok(lag)
    }
}
