//! A client's permit at a gate: a job's, or the vigil's.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use stoke_core::names::JobName;
use stoke_core::units::Moment;
use tokio_util::sync::CancellationToken;

use super::line::{Client, Who};
use super::{Gate, Wanted, lock};
use crate::permit::{InFlight, Permit, Stopped};

/// How long a token may be held before it is used: an older one is given up, for it would add to newer ones.
const READY_MAX: Duration = Duration::from_millis(10);

/// A client's permit to use one resource, which counts the tokens it took.
#[derive(Debug)]
pub struct ClientPermit {
    gate: Arc<Gate>,
    client: Client,
    stop: CancellationToken,
    patient: bool,
    taken: AtomicU64,
    /// When the last statement left whose answer has not been noted.
    unanswered: std::sync::Mutex<Option<Moment>>,
    /// When a token was taken that no statement has used yet.
    ready: std::sync::Mutex<Option<Moment>>,
    /// Rows that were paid for, for a statement that has not been sent yet.
    ready_rows: AtomicU64,
}

impl ClientPermit {
    pub(super) fn new(gate: Arc<Gate>, client: Client, stop: CancellationToken) -> Self {
        Self {
            gate,
            client,
            stop,
            patient: true,
            taken: AtomicU64::new(0),
            unanswered: std::sync::Mutex::new(None),
            ready: std::sync::Mutex::new(None),
            ready_rows: AtomicU64::new(0),
        }
    }

    /// The same, for a job of this priority: higher goes first; 0 where nothing is said.
    #[must_use]
    pub fn with_priority(mut self, priority: u32) -> Self {
        self.client.priority = priority;
        self
    }

    /// The same, but where the job may not send for the time being, whoever wants to is told so rather than made to wait:
    /// it may hold a connection and a place in flight.
    #[must_use]
    pub fn impatient(mut self) -> Self {
        self.patient = false;
        self
    }

    /// Waits for a token and for so many rows before there is a connection to use them on, so that the last query's may be
    /// free again by then. The next [`Permit::pass`] uses the token, where that comes at once; the next one that expects
    /// rows uses those.
    ///
    /// # Errors
    /// [`Stopped`].
    pub async fn ready(&self, rows: u64) -> Result<(), Stopped> {
        let passing = self.gate.take(&self.client, Wanted { tokens: 1, rows });
        self.stop
            .run_until_cancelled(passing)
            .await
            .ok_or(Stopped)?;
        *lock(&self.ready) = Some(self.gate.clock.now());
        self.ready_rows.fetch_add(rows, Ordering::Relaxed);
        Ok(())
    }

    /// Whether there is a fresh token from [`ClientPermit::ready`], and the client may still send.
    fn use_ready(&self) -> bool {
        let now = self.gate.clock.now();
        let taken = lock(&self.ready).take();
        taken.is_some_and(|taken| now.since(taken) <= READY_MAX)
            && self.gate.may_send(&self.client.who)
    }

    /// Of so many rows, how many must still be paid for: those of [`ClientPermit::ready`] are. What that had more than is
    /// needed is given back.
    fn use_ready_rows(&self, rows: u64) -> u64 {
        if rows == 0 {
            return 0;
        }
        let paid = self.ready_rows.swap(0, Ordering::Relaxed);
        self.gate.settle_rows(paid.saturating_sub(rows), 0);
        rows.saturating_sub(paid)
    }

    /// Notes that the last statement was answered.
    pub fn answered(&self) {
        if let Some(sent) = lock(&self.unanswered).take() {
            lock(&self.gate.window).note_answered(sent, self.gate.clock.now());
        }
    }

    /// How many tokens this permit has taken.
    #[must_use]
    pub fn taken(&self) -> u64 {
        self.taken.load(Ordering::Relaxed)
    }
}

impl Drop for ClientPermit {
    fn drop(&mut self) {
        self.gate
            .settle_rows(self.ready_rows.load(Ordering::Relaxed), 0);
    }
}

/// Somebody who waits at a gate, or is on the way to it.
#[derive(Debug)]
pub struct Waiting {
    gate: Arc<Gate>,
    client: Client,
}

impl Waiting {
    /// At this gate for a job of this priority, until it is dropped.
    #[must_use]
    pub fn at(gate: Arc<Gate>, job: JobName, priority: u32) -> Self {
        let who = Who::Job(job);
        Self::of(gate, Client { who, priority })
    }

    pub(super) fn of(gate: Arc<Gate>, client: Client) -> Self {
        *lock(&gate.waiting)
            .entry((client.priority, client.who.clone()))
            .or_default() += 1;
        Self { gate, client }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        {
            let mut waiting = lock(&self.gate.waiting);
            let of = (self.client.priority, self.client.who.clone());
            if let std::collections::btree_map::Entry::Occupied(mut count) = waiting.entry(of) {
                *count.get_mut() -= 1;
                if *count.get() == 0 {
                    count.remove();
                }
            }
        }
        self.gate.passed.notify_waiters();
    }
}

#[async_trait]
impl Permit for ClientPermit {
    async fn enter(&self) -> Result<InFlight, Stopped> {
        let _waiting = Waiting::of(Arc::clone(&self.gate), self.client.clone());
        let turn = self.gate.entrance.enter(self.client.clone());
        loop {
            let place = async {
                if !self.gate.entrance.lock().is_first(turn.ticket) {
                    turn.told.notified().await;
                    return Ok(None);
                }
                tokio::select! {
                    // Overtaken: it looks again. A place that was not given yet is not lost.
                    () = turn.told.notified() => Ok(None),
                    place = Arc::clone(&self.gate.places).acquire_owned() => place.map(Some),
                }
            };
            let place = self.stop.run_until_cancelled(place).await.ok_or(Stopped)?;
            let Some(place) = place.map_err(|_| Stopped)? else {
                continue;
            };
            if self.gate.is_surplus() {
                place.forget();
            } else {
                self.gate.entrance.lock().note_served(turn.ticket);
                return Ok(InFlight(Some(place)));
            }
        }
    }

    async fn pass(&self, tokens: u32) -> Result<(), Stopped> {
        self.pass_expecting(tokens, 0).await
    }

    async fn pass_expecting(&self, tokens: u32, rows: u64) -> Result<(), Stopped> {
        if tokens > 0 {
            // One statement after another: whoever asks for the next has had the last one's answer.
            self.answered();
        } else if rows > 0 && self.gate.any_rows() {
            // Whoever reads on under no limit does not ask for leave.
            return Ok(());
        }
        let unpaid = self.use_ready_rows(rows);
        let passed = self.pass_paying(tokens, unpaid).await;
        if passed.is_err() {
            self.gate.settle_rows(rows - unpaid, 0);
        }
        passed
    }

    fn at_once(&self) -> u32 {
        self.gate.at_once()
    }

    fn came(&self, paid: u64, rows: u64) {
        self.gate.settle_rows(paid, rows);
    }
}

impl ClientPermit {
    async fn pass_paying(&self, tokens: u32, rows: u64) -> Result<(), Stopped> {
        let wanted = Wanted { tokens, rows };
        let passing = async {
            if (tokens, rows) == (1, 0) && self.use_ready() {
                return true;
            }
            if self.patient {
                self.gate.take(&self.client, wanted).await;
                return true;
            }
            self.gate.take_while_open(&self.client, wanted).await
        };
        let passed = self.stop.run_until_cancelled(passing).await;
        if passed != Some(true) {
            return Err(Stopped);
        }
        if tokens > 0 {
            let now = self.gate.clock.now();
            lock(&self.gate.window).note_sent(now, tokens);
            *lock(&self.unanswered) = Some(now);
        }
        let tokens = u64::from(tokens);
        self.taken.fetch_add(tokens, Ordering::Relaxed);
        self.gate.queries.fetch_add(tokens, Ordering::Relaxed);
        Ok(())
    }
}
