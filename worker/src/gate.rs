//! The gate of one resource: nothing goes to an origin, and nothing to a cache, but through here.
//!
//! It holds what the heart last confirmed with the store (`core::ledger::Grant`), and lets queries out at the granted
//! rate, within the granted number in flight, for jobs whose permits are in force. With no grant, or one whose deadline
//! has passed, nothing goes out: it fails closed.
//!
//! Of several jobs the one with the highest priority gets the next token, and the next place in flight; jobs of one
//! priority take turns. A lower one gets what the higher leave: whoever is not allowed to send, or waits for its cache,
//! does not stand in line. Absent here: any decision about grants, and shares between workers by priority.

mod line;
mod pace;
mod window;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use stoke_core::ledger::{Grant, Share};
use stoke_core::names::{JobName, Resource};
use stoke_core::units::Moment;
use stoke_store::clock::Clock;
use tokio::sync::futures::Notified;
use tokio::sync::{Notify, Semaphore, watch};
use tokio_util::sync::CancellationToken;

use crate::permit::{InFlight, Permit, Stopped};
use line::{Client, Line, Ticket};
use pace::{Pace, Verdict};
use window::Window;

/// How long a waiter sleeps at most before it looks at the grant again: time itself may end it.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// How long a token may be held before it is used: an older one is given up, for it would add to newer ones.
const READY_MAX: Duration = Duration::from_millis(10);

/// What the heart says of a resource.
#[derive(Clone, Debug, Default)]
pub struct Allowed {
    /// The grant, as last confirmed. Its permits count even where nothing is limited.
    pub grant: Grant,
    /// There is no budget for this resource: only permits count. (Caches only.)
    pub unlimited: bool,
}

/// Places in flight.
#[derive(Debug, Default)]
struct Places {
    /// How many there are, taken ones included.
    given: usize,
    /// How many there should be.
    wanted: usize,
}

/// The gate of one resource.
#[derive(Debug)]
pub struct Gate {
    resource: Resource,
    clock: Arc<dyn Clock>,
    allowed: watch::Sender<Allowed>,
    pace: std::sync::Mutex<Pace>,
    window: std::sync::Mutex<Window>,
    /// Those who wait for a token: the first takes the next.
    tokens: Queue,
    /// Those who wait for a place in flight: the first takes the next.
    entrance: Queue,
    places: Arc<Semaphore>,
    places_given: std::sync::Mutex<Places>,
    queries: AtomicU64,
    /// How many wait, or are on the way, by job and its priority.
    waiting: std::sync::Mutex<BTreeMap<(u32, JobName), usize>>,
    /// Told whenever somebody has passed.
    passed: Notify,
}

impl Gate {
    /// A gate that lets nothing out yet.
    #[must_use]
    pub fn new(resource: Resource, clock: Arc<dyn Clock>) -> Arc<Self> {
        let pace = std::sync::Mutex::new(Pace::new(clock.now()));
        let (allowed, _) = watch::channel(Allowed::default());
        let places = Arc::new(Semaphore::new(0));
        let places_given = std::sync::Mutex::new(Places::default());
        let window = std::sync::Mutex::new(Window::new(clock.now()));
        Arc::new(Self {
            resource,
            clock,
            allowed,
            pace,
            window,
            tokens: Queue::default(),
            entrance: Queue::default(),
            places,
            places_given,
            queries: AtomicU64::new(0),
            waiting: std::sync::Mutex::default(),
            passed: Notify::new(),
        })
    }

    /// The resource that it guards.
    #[must_use]
    pub fn resource(&self) -> &Resource {
        &self.resource
    }

    /// Queries let out since the start.
    #[must_use]
    pub fn queries(&self) -> u64 {
        self.queries.load(Ordering::Relaxed)
    }

    /// How many wait for a place or a token, or are on the way.
    #[must_use]
    pub fn waiting(&self) -> usize {
        lock(&self.waiting).values().sum()
    }

    /// Whether the job itself, or one of a higher priority, waits here or is on the way. (Another one of its own priority
    /// does not count: they take turns.)
    #[must_use]
    pub fn is_behind(&self, job: &JobName, priority: u32) -> bool {
        let waiting = lock(&self.waiting);
        waiting
            .keys()
            .any(|(other, name)| *other > priority || name == job)
    }

    /// Waits until somebody has passed, or something else is allowed. Enabled, it misses nothing from then on.
    pub fn passed(&self) -> Notified<'_> {
        self.passed.notified()
    }

    /// Queries in flight now.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        let given = lock(&self.places_given).given;
        given.saturating_sub(self.places.available_permits())
    }

    /// How many queries may be in flight under the present grant.
    #[must_use]
    pub fn in_flight_max(&self) -> usize {
        lock(&self.places_given).wanted
    }

    /// What is granted now, and for how long still: nothing, once the deadline has passed. `None` where there is no
    /// budget.
    #[must_use]
    pub fn granted(&self) -> Option<(Share, Duration)> {
        let allowed = self.allowed.borrow();
        let now = self.clock.now();
        let left = allowed.grant.deadline.since(now);
        (!allowed.unlimited).then(|| (allowed.grant.at(now), left))
    }

    /// Whether the job may send now, if there is a token.
    #[must_use]
    pub fn is_open(&self, job: &JobName) -> bool {
        self.permits(&self.allowed.borrow(), job)
    }

    /// From now on this is allowed. When it returns, whoever has not passed yet goes by it.
    pub fn allow(&self, allowed: Allowed) {
        let now = self.clock.now();
        // The time until now was at the old rate.
        lock(&self.pace).set(now, allowed.grant.share, allowed.grant.deadline);
        lock(&self.window).note_share(now, allowed.grant.share.rate_milli);
        self.resize(if allowed.unlimited {
            Semaphore::MAX_PERMITS >> 4
        } else {
            in_flight(allowed.grant.share)
        });
        self.allowed.send_replace(allowed);
        self.tokens.lock().tell_all();
        self.passed.notify_waiters();
    }

    /// Places that are taken while their number sinks go when they are given back: see [`JobPermit::enter`].
    fn resize(&self, wanted: usize) {
        let mut places = lock(&self.places_given);
        places.wanted = wanted;
        if wanted > places.given {
            self.places.add_permits(wanted - places.given);
            places.given = wanted;
        } else {
            places.given -= self.places.forget_permits(places.given - wanted);
        }
    }

    /// Whether a place that was just taken is one too many, and does not exist any more.
    fn is_surplus(&self) -> bool {
        let mut places = lock(&self.places_given);
        let surplus = places.given > places.wanted;
        places.given -= usize::from(surplus);
        surplus
    }

    /// A job's permit to use this resource; `stop` ends it.
    #[must_use]
    pub fn permit(self: &Arc<Self>, job: JobName, stop: CancellationToken) -> JobPermit {
        JobPermit {
            gate: Arc::clone(self),
            client: Client { job, priority: 0 },
            stop,
            patient: true,
            unanswered: std::sync::Mutex::new(None),
            taken: AtomicU64::new(0),
            ready: std::sync::Mutex::new(None),
        }
    }

    /// Waits until the job may send.
    async fn permitted(&self, job: &JobName) {
        let mut allowed = self.allowed.subscribe();
        while !self.permits(&allowed.borrow_and_update(), job) {
            // The sender lives as long as we do.
            let _ = tokio::time::timeout(LOOK_EVERY, allowed.changed()).await;
        }
    }

    fn permits(&self, allowed: &Allowed, job: &JobName) -> bool {
        let now = self.clock.now();
        if allowed.unlimited {
            allowed
                .grant
                .permits
                .get(job)
                .is_some_and(|deadline| now < *deadline)
        } else {
            allowed.grant.permits(job, now) && allowed.grant.at(now).allows_queries()
        }
    }

    /// Waits for tokens, and looks once more. Whoever waits for several gets them one after another, before anybody
    /// else gets one: so what is sent at once was paid for just before.
    async fn take(self: &Arc<Self>, client: &Client, tokens: u32) {
        loop {
            self.permitted(&client.job).await;
            // What was taken before a permit is withdrawn is lost: it would be old when the permit comes back.
            if tokens == 0 || self.take_while_open(client, tokens).await {
                return;
            }
        }
    }

    /// Takes tokens in turn; `false` where the job may not send (any more).
    async fn take_while_open(self: &Arc<Self>, client: &Client, tokens: u32) -> bool {
        let _waiting = Waiting::of(Arc::clone(self), client.clone());
        if !self.is_open(&client.job) {
            return false;
        }
        let turn = self.tokens.enter(client.clone());
        self.take_in_turn(&turn, &client.job, tokens).await
    }

    /// When the last second has room for another query, where it is full.
    fn window_opens_at(&self, now: Moment) -> Option<Moment> {
        // Writes go out many at a time; what they are promised is looser.
        if !matches!(self.resource, Resource::Origin(_)) {
            return None;
        }
        lock(&self.window).opens_at(now)
    }

    /// Takes tokens whenever it is this one's turn, while the job may send; `false` where it may not any more. Dropped,
    /// it leaves the line; a token that it has taken by then is lost, as one that is not used is.
    async fn take_in_turn(&self, turn: &Turn<'_>, job: &JobName, tokens: u32) -> bool {
        let mut taken = 0;
        loop {
            {
                let allowed = self.allowed.borrow();
                if !self.permits(&allowed, job) {
                    return false;
                }
                // The last look: what is permitted now is sent now.
                if allowed.unlimited || taken == tokens {
                    self.tokens.lock().note_served(turn.ticket);
                    return true;
                }
            }
            match self.try_take(turn) {
                None => turn.told.notified().await,
                Some(Verdict::Taken) => taken += 1,
                // Overtaken or not: told, it looks again.
                Some(Verdict::Wait(time)) => turn.told_within(time.min(LOOK_EVERY)).await,
                Some(Verdict::Never) => turn.told_within(LOOK_EVERY).await,
            }
        }
    }

    /// Takes a token where it is this one's turn. All in one, so that nobody comes between the look and the taking.
    fn try_take(&self, turn: &Turn<'_>) -> Option<Verdict> {
        let mut line = self.tokens.lock();
        if !line.is_first(turn.ticket) {
            return None;
        }
        let now = self.clock.now();
        let verdict = match self.window_opens_at(now) {
            Some(opens) if opens > now => Verdict::Wait(opens.since(now)),
            _ => lock(&self.pace).take(now),
        };
        if verdict == Verdict::Taken {
            line.begin(turn.ticket);
        }
        Some(verdict)
    }
}

/// A line that can be waited in.
#[derive(Debug, Default)]
struct Queue(std::sync::Mutex<Line>);

impl Queue {
    fn lock(&self) -> std::sync::MutexGuard<'_, Line> {
        lock(&self.0)
    }

    fn enter(&self, client: Client) -> Turn<'_> {
        let (ticket, told) = self.lock().enter(client);
        Turn {
            queue: self,
            ticket,
            told,
        }
    }
}

/// A place in a line, left when it is dropped.
struct Turn<'a> {
    queue: &'a Queue,
    ticket: Ticket,
    told: Arc<Notify>,
}

impl Turn<'_> {
    /// Waits until told, for so long at most.
    async fn told_within(&self, time: Duration) {
        let _ = tokio::time::timeout(time, self.told.notified()).await;
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.queue.lock().leave(self.ticket);
    }
}

fn in_flight(share: Share) -> usize {
    usize::try_from(share.in_flight)
        .unwrap_or(usize::MAX)
        .min(Semaphore::MAX_PERMITS >> 4)
}

fn lock<T>(mutex: &std::sync::Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// A job's permit to use one resource, which counts the tokens it took.
#[derive(Debug)]
pub struct JobPermit {
    gate: Arc<Gate>,
    client: Client,
    stop: CancellationToken,
    patient: bool,
    taken: AtomicU64,
    /// When the last statement left whose answer has not been noted.
    unanswered: std::sync::Mutex<Option<Moment>>,
    /// When a token was taken that no statement has used yet.
    ready: std::sync::Mutex<Option<Moment>>,
}

impl JobPermit {
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

    /// Waits for a token before there is a connection to use it on, so that the last query's may be free again by then.
    /// The next [`Permit::pass`] uses it, where that comes at once.
    ///
    /// # Errors
    /// [`Stopped`].
    pub async fn ready(&self) -> Result<(), Stopped> {
        let passing = self.gate.take(&self.client, 1);
        self.stop
            .run_until_cancelled(passing)
            .await
            .ok_or(Stopped)?;
        *lock(&self.ready) = Some(self.gate.clock.now());
        Ok(())
    }

    /// Whether there is a fresh token from [`JobPermit::ready`], and the job may still send.
    fn use_ready(&self) -> bool {
        let now = self.gate.clock.now();
        let taken = lock(&self.ready).take();
        taken.is_some_and(|taken| now.since(taken) <= READY_MAX)
            && self
                .gate
                .permits(&self.gate.allowed.borrow(), &self.client.job)
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
        Self::of(gate, Client { job, priority })
    }

    fn of(gate: Arc<Gate>, client: Client) -> Self {
        *lock(&gate.waiting)
            .entry((client.priority, client.job.clone()))
            .or_default() += 1;
        Self { gate, client }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        {
            let mut waiting = lock(&self.gate.waiting);
            let of = (self.client.priority, self.client.job.clone());
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
impl Permit for JobPermit {
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
        // One statement after another: whoever asks for the next has had the last one's answer.
        self.answered();
        let passing = async {
            if tokens == 1 && self.use_ready() {
                return true;
            }
            if self.patient {
                self.gate.take(&self.client, tokens).await;
                return true;
            }
            self.gate.take_while_open(&self.client, tokens).await
        };
        let passed = self.stop.run_until_cancelled(passing).await;
        if passed != Some(true) {
            return Err(Stopped);
        }
        if tokens > 0 {
            let now = self.gate.clock.now();
            lock(&self.gate.window).note_sent(now);
            *lock(&self.unanswered) = Some(now);
        }
        let tokens = u64::from(tokens);
        self.taken.fetch_add(tokens, Ordering::Relaxed);
        self.gate.queries.fetch_add(tokens, Ordering::Relaxed);
        Ok(())
    }
}

#[cfg(test)]
mod tests;
