//! An origin's read replicas: the one that lags least is asked, as long as any is within the maximum.
//!
//! Each worker asks the replicas for their lag itself, all of them at once and before something else is asked, so often as is
//! configured: a token each. What is between two looks goes by the last. A replica that fails is not asked again before the
//! next look; what was on its way there may be tried again at once, at another.
//!
//! A replica that cannot say its lag is not used: neither is one that lags too much. Where none can be, it is an outage of the
//! origin, and nothing is asked (or the primary, where the configuration says that). Each replica has sessions of its own; the
//! budget is the origin's.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures::future::join_all;
use stoke_core::names::OriginName;

mod choice;

use self::choice::{Reading, choose, why_not};
use super::error::OriginError;
use super::meter::{Counters, Meter};
use super::rewrite::Dialect;
use super::{Cause, Engine};
use crate::catalog::{OriginConfig, ReplicasConfig};
use crate::permit::{Permit, Stopped};

/// How long a replica may take to say its lag, its connection not counted.
const LAG_TIME_MAX: Duration = Duration::from_secs(3);
/// How long one that failed is left alone at most, while others can be asked: each try may take as long as the network lets it.
const LEFT_ALONE_MAX: Duration = Duration::from_secs(30);
/// A look that is older than this many intervals, for others have been looking since, is waited for.
const INTERVALS_OLD_MAX: u32 = 3;

/// The replicas of one origin.
#[derive(Debug)]
pub(super) struct Replicas {
    origin: OriginName,
    members: Vec<Member>,
    lag_max: Duration,
    interval: Duration,
    /// Whether the primary is asked where no replica can be.
    pub(super) falls_back: bool,
    /// Held by whoever asks for lags.
    asking: tokio::sync::Mutex<()>,
    state: Mutex<State>,
}

/// One replica.
#[derive(Debug)]
struct Member {
    /// Host, port and database.
    address: String,
    engine: Engine,
}

#[derive(Debug)]
struct State {
    readings: Vec<Reading>,
    /// How often each has failed in a row, and when it did for the last time.
    failures: Vec<(u32, Option<Instant>)>,
    /// When they were asked for the last time.
    asked_at: Option<Instant>,
    current: Option<usize>,
}

/// How a replica stands, for metrics.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Standing {
    pub(crate) address: String,
    /// `None` where it does not say.
    pub(crate) lag: Option<Duration>,
    /// Whether it is asked.
    pub(crate) chosen: bool,
}

/// No replica can be asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "none lags by at most {}: {reasons}; let one catch up, raise replica-lag-max, or set replica-fallback = \"primary\"",
    humantime::format_duration(*.lag_max)
)]
struct NoReplica {
    lag_max: Duration,
    reasons: String,
}

/// A replica was lost while it was asked, and another can be asked.
#[derive(Debug, thiserror::Error)]
#[error("the replica {address} failed, and another is asked from now on")]
pub(super) struct ReplicaLost {
    address: String,
    /// Whether it did not let us in: nothing was asked of it.
    pub(super) at_entry: bool,
    #[source]
    source: Cause,
}

impl Replicas {
    pub(super) fn new(
        config: &OriginConfig,
        replicas: &ReplicasConfig,
    ) -> Result<Self, OriginError> {
        let member = |url| {
            let of_replica = OriginConfig {
                url,
                replicas: None,
                ..config.clone()
            };
            let engine = Engine::new(&of_replica)?;
            Ok(Member {
                address: engine.address(),
                engine,
            })
        };
        let urls = replicas.urls.iter().cloned();
        let members: Vec<Member> = urls.map(member).collect::<Result<_, OriginError>>()?;
        Ok(Self {
            origin: config.name.clone(),
            state: Mutex::new(State {
                readings: vec![Reading::Unknown; members.len()],
                failures: vec![(0, None); members.len()],
                asked_at: None,
                current: None,
            }),
            members,
            lag_max: replicas.lag_max,
            interval: replicas.lag_interval,
            falls_back: replicas.falls_back,
            asking: tokio::sync::Mutex::default(),
        })
    }

    pub(super) fn engines(&self) -> impl Iterator<Item = &Engine> {
        self.members.iter().map(|member| &member.engine)
    }

    /// Whether the one that is asked is being set up. What is set up to ask the others for their lag is waited for by nobody.
    pub(super) fn is_setting_up(&self) -> bool {
        let current = self.state().current;
        current.is_some_and(|place| self.members[place].engine.is_setting_up())
    }

    pub(super) fn engine(&self, place: usize) -> &Engine {
        &self.members[place].engine
    }

    /// How many there are.
    pub(super) fn count(&self) -> usize {
        self.members.len()
    }

    pub(super) fn standings(&self) -> Vec<Standing> {
        let state = self.state();
        let all = self.members.iter().zip(&state.readings).enumerate();
        all.map(|(place, (member, reading))| Standing {
            address: member.address.clone(),
            lag: match reading {
                Reading::Lags(lag) => Some(*lag),
                Reading::Promoted => Some(Duration::ZERO),
                Reading::Unknown | Reading::Failed(_) => None,
            },
            chosen: state.current == Some(place),
        })
        .collect()
    }

    /// The replica to ask now, after a look at the lags where it is time for one. The caller has no place in flight yet.
    pub(super) async fn pick(
        &self,
        permit: &dyn Permit,
        counters: &Counters,
    ) -> Result<Result<usize, OriginError>, Stopped> {
        let age = || self.state().asked_at.map(|at| at.elapsed());
        let is_due = |age: Option<Duration>| age.is_none_or(|age| age >= self.interval);
        let is_old =
            |age: Option<Duration>| age.is_none_or(|age| age >= self.interval * INTERVALS_OLD_MAX);
        let asking = match age() {
            now if is_old(now) => Some(self.asking.lock().await),
            now if is_due(now) => self.asking.try_lock().ok(),
            _ => None,
        };
        // Whoever was waited for may have asked.
        if asking.is_some() && is_due(age()) {
            self.ask(permit, counters).await?;
        }
        drop(asking);
        let chosen = self.choose();
        Ok(chosen.ok_or_else(|| self.none()))
    }

    /// Asks for their lag all but those that are left alone.
    async fn ask(&self, permit: &dyn Permit, counters: &Counters) -> Result<(), Stopped> {
        let all = self.members.iter().zip(self.left_alone());
        let asked = all.map(|(member, left_alone)| async move {
            match left_alone {
                true => Ok(None),
                false => read(&member.engine, permit, counters).await.map(Some),
            }
        });
        let asked: Vec<Result<Option<Reading>, Stopped>> = join_all(asked).await;
        let mut state = self.state();
        for (place, reading) in asked.into_iter().enumerate() {
            let Some(reading) = reading? else {
                continue;
            };
            self.tell(&self.members[place], &state.readings[place], &reading);
            state.failures[place] = match reading {
                Reading::Failed(_) => (state.failures[place].0 + 1, Some(Instant::now())),
                _ => (0, None),
            };
            state.readings[place] = reading;
        }
        state.asked_at = Some(Instant::now());
        Ok(())
    }

    /// Which have failed of late, again and again: they are not asked, unless no other could be.
    fn left_alone(&self) -> Vec<bool> {
        let state = self.state();
        if choose(&state.readings, None, self.lag_max).is_none() {
            return vec![false; self.members.len()];
        }
        let failures = state.failures.iter();
        let left_alone = failures.map(|(times, last)| {
            let time = self.interval.saturating_mul(1 << (*times).min(5));
            let time = time.min(LEFT_ALONE_MAX.max(self.interval));
            *times > 0 && last.is_some_and(|last| last.elapsed() < time)
        });
        left_alone.collect()
    }

    /// Logs what has become of a replica, where that is news.
    fn tell(&self, member: &Member, before: &Reading, now: &Reading) {
        let (origin, replica) = (self.origin.as_str(), member.address.as_str());
        let (was, is) = (why_not(before, self.lag_max), why_not(now, self.lag_max));
        match (was, is) {
            (_, Some(why)) if std::mem::discriminant(before) != std::mem::discriminant(now) => {
                tracing::warn!(origin, replica, why, "does not load from a replica");
            }
            (None, Some(why)) => {
                tracing::warn!(origin, replica, why, "does not load from a replica");
            }
            (Some(_), None) if *before != Reading::Unknown => {
                tracing::info!(origin, replica, "may load from a replica again");
            }
            _ => {}
        }
        if *now == Reading::Promoted && *before != Reading::Promoted {
            tracing::warn!(
                origin,
                replica,
                "is no replica: it was promoted, or never was one; it counts as one without lag"
            );
        }
    }

    fn choose(&self) -> Option<usize> {
        let mut state = self.state();
        let chosen = choose(&state.readings, state.current, self.lag_max);
        if chosen != state.current {
            state.current = chosen;
            if let Some(place) = chosen {
                let replica = self.members[place].address.as_str();
                tracing::info!(
                    origin = self.origin.as_str(),
                    replica,
                    "loads from this replica"
                );
            }
        }
        chosen
    }

    /// What is said where none can be asked.
    fn none(&self) -> OriginError {
        let state = self.state();
        let reasons = self
            .members
            .iter()
            .zip(&state.readings)
            .filter_map(|(member, reading)| {
                let why = why_not(reading, self.lag_max)?;
                Some(format!("{} {why}", member.address))
            });
        let reasons: Vec<String> = reasons.collect();
        let none = NoReplica {
            lag_max: self.lag_max,
            reasons: reasons.join(", "),
        };
        OriginError::no_entry(
            format!("find a replica of origin {:?}", self.origin.as_str()),
            Box::new(none) as Cause,
        )
    }

    /// Notes that a replica failed, and says what that is for whoever asked: where another can be asked, another attempt may
    /// succeed at once.
    pub(super) fn failed(&self, place: usize, error: OriginError) -> OriginError {
        let member = &self.members[place];
        let why = format!("failed: {}", error.explain());
        {
            let mut state = self.state();
            let now = Reading::Failed(why);
            self.tell(member, &state.readings[place], &now);
            state.readings[place] = now;
            state.failures[place] = (state.failures[place].0 + 1, Some(Instant::now()));
        }
        if self.choose().is_none() {
            return error;
        }
        let at_entry = matches!(error, OriginError::NoEntry { .. });
        match error {
            OriginError::NoEntry { doing, source, .. }
            | OriginError::Transient { doing, source } => {
                let address = member.address.clone();
                let lost = ReplicaLost {
                    address,
                    at_entry,
                    source,
                };
                OriginError::transient(doing, Box::new(lost) as Cause)
            }
            other => other,
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a replica says of its lag.
async fn read(
    engine: &Engine,
    permit: &dyn Permit,
    counters: &Counters,
) -> Result<Reading, Stopped> {
    const UNKNOWN: &str = "does not know its lag: is replication set up, and running? (It says nothing before the first transaction was replayed)";
    let _place = permit.enter().await?;
    let mut meter = Meter::new(permit, counters, "lag");
    let lag = match engine {
        Engine::Postgres(engine) => engine.lag(&mut meter, LAG_TIME_MAX).await,
        Engine::MySql(engine) => engine.lag(&mut meter, LAG_TIME_MAX).await,
        // They have none.
        Engine::Sqlite(_) | Engine::Redis(_) | Engine::Prometheus(_) => Ok(None),
    };
    meter.ended(&lag);
    Ok(match lag {
        Ok(Some(seconds)) if seconds < 0.0 => Reading::Promoted,
        Ok(Some(seconds)) => {
            Reading::Lags(Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX))
        }
        Ok(None) => Reading::Failed(UNKNOWN.to_owned()),
        Err(OriginError::Stopped(stopped)) => return Err(stopped),
        Err(error) => Reading::Failed(format!("does not say its lag: {}", error.explain())),
    })
}

/// Whether origins of this dialect have replicas that say how far they lag.
#[must_use]
pub const fn say_their_lag(dialect: Dialect) -> bool {
    !matches!(dialect, Dialect::Sqlite)
}
