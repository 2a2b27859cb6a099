//! The gate of one resource: nothing goes to an origin, and nothing to a cache, but through here.
//!
//! It holds what the heart last confirmed with the store (`core::ledger::Grant`), and lets queries out at the granted
//! rate, within the granted number in flight, for jobs whose permits are in force. With no grant, or one whose deadline
//! has passed, nothing goes out: it fails closed. The worker's own brake takes something off the rate, and never adds to it.
//!
//! Of several jobs the one with the highest priority gets the next token, and the next place in flight; jobs of one
//! priority take turns. A lower one gets what the higher leave: whoever is not allowed to send, or waits for its cache,
//! does not stand in line. Absent here: any decision about grants, and shares between workers by priority.

mod line;
mod pace;
mod paces;
mod permit;
mod queue;
mod rows;
mod untouched;
mod window;

pub use permit::{ClientPermit, Waiting};
pub use untouched::Untouched;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use stoke_core::ledger::{Grant, Share};
use stoke_core::names::{JobName, Resource};
use stoke_core::units::Moment;
use stoke_store::clock::Clock;
use tokio::sync::futures::Notified;
use tokio::sync::{Notify, Semaphore, watch};
use tokio_util::sync::CancellationToken;

use line::{Client, Who};
use pace::Verdict;
use paces::Paces;
use queue::{Queue, Turn};
use window::Window;

/// How long a waiter sleeps at most before it looks at the grant again: time itself may end it.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Of what a second may see, one part of so many is sent at once at most.
const AT_ONCE_PART: u64 = 20;

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
    untouched: Option<Untouched>,
    allowed: watch::Sender<Allowed>,
    paces: std::sync::Mutex<Paces>,
    window: std::sync::Mutex<Window>,
    /// Those who wait for a token: the first takes the next.
    tokens: Queue,
    /// Those who wait for a place in flight: the first takes the next.
    entrance: Queue,
    places: Arc<Semaphore>,
    places_given: std::sync::Mutex<Places>,
    queries: AtomicU64,
    /// How many wait, or are on the way, by their priority and whom they are for.
    waiting: std::sync::Mutex<BTreeMap<(u32, Who), usize>>,
    /// Told whenever somebody has passed.
    passed: Notify,
}

impl Gate {
    /// A gate that lets nothing out yet.
    #[must_use]
    pub fn new(resource: Resource, clock: Arc<dyn Clock>) -> Arc<Self> {
        Self::with(None, resource, clock)
    }

    /// The same, where this process knows whether others had a share of the resource: if they had not, what is granted first
    /// may be sent at once.
    #[must_use]
    pub fn with(
        untouched: Option<Untouched>,
        resource: Resource,
        clock: Arc<dyn Clock>,
    ) -> Arc<Self> {
        let paces = std::sync::Mutex::new(Paces::new(clock.now()));
        let (allowed, _) = watch::channel(Allowed::default());
        let places = Arc::new(Semaphore::new(0));
        let places_given = std::sync::Mutex::new(Places::default());
        let window = std::sync::Mutex::new(Window::new(clock.now()));
        Arc::new(Self {
            resource,
            clock,
            untouched,
            allowed,
            paces,
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
            .any(|(other, who)| *other > priority || matches!(who, Who::Job(name) if name == job))
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

    /// How many queries a second are let out at most, in thousandths; `None` where nothing limits them.
    #[must_use]
    pub fn rate_milli(&self) -> Option<u64> {
        let brake = u64::from(self.brake_permille().min(1000));
        let (share, _) = self.granted()?;
        Some(share.rate_milli.saturating_mul(brake) / 1000)
    }

    /// Whether the job may send now, if there is a token.
    #[must_use]
    pub fn is_open(&self, job: &JobName) -> bool {
        self.may_send(&Who::Job(job.clone()))
    }

    /// How much of its share the worker uses by its own decision, in thousandths.
    #[must_use]
    pub fn brake_permille(&self) -> u32 {
        lock(&self.paces).brake_permille()
    }

    /// From now on so many thousandths of whatever is granted are used, of queries and rows alike; 1000 and more: all of
    /// it. Where there is no budget there is no rate to lower.
    pub fn brake(&self, permille: u32) {
        lock(&self.paces).brake(self.clock.now(), permille);
        self.tokens.lock().tell_all();
    }

    /// From now on this is allowed. When it returns, whoever has not passed yet goes by it.
    pub fn allow(&self, allowed: Allowed) {
        let now = self.clock.now();
        // The time until now was at the old rate.
        lock(&self.paces).grant(now, allowed.grant.share, allowed.grant.deadline);
        self.note_lapse(now);
        let rate_milli = allowed.grant.share.rate_milli;
        let is_first = |untouched: &Untouched| rate_milli > 0 && untouched.touch(&self.resource);
        if self.untouched.as_ref().is_some_and(is_first) {
            *lock(&self.window) = Window::untouched();
        }
        lock(&self.window).note_share(now, rate_milli);
        self.resize(if allowed.unlimited {
            Semaphore::MAX_PERMITS >> 4
        } else {
            in_flight(allowed.grant.share)
        });
        self.allowed.send_replace(allowed);
        self.tokens.lock().tell_all();
        self.passed.notify_waiters();
    }

    /// A grant that was not renewed in time has been nothing since its deadline, and may have been another's.
    fn note_lapse(&self, now: Moment) {
        let (deadline, unlimited) = {
            let allowed = self.allowed.borrow();
            (allowed.grant.deadline, allowed.unlimited)
        };
        if !unlimited && deadline < now {
            lock(&self.window).note_share(deadline, 0);
        }
    }

    /// Places that are taken while their number sinks go when they are given back: see [`ClientPermit`].
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
    pub fn permit(self: &Arc<Self>, job: JobName, stop: CancellationToken) -> ClientPermit {
        let who = Who::Job(job);
        ClientPermit::new(Arc::clone(self), Client { who, priority: 0 }, stop)
    }

    /// The vigil's permit to look how the resource is, as long as the worker has a grant: no job's stop holds it, and no job
    /// goes before it. It does not wait where there is no grant.
    #[must_use]
    pub fn vigil(self: &Arc<Self>) -> ClientPermit {
        let client = Client {
            who: Who::Vigil,
            priority: u32::MAX,
        };
        ClientPermit::new(Arc::clone(self), client, CancellationToken::new()).impatient()
    }

    /// Waits until this client may send.
    async fn permitted(&self, who: &Who) {
        let mut allowed = self.allowed.subscribe();
        while !self.permits(&allowed.borrow_and_update(), who) {
            // The sender lives as long as we do.
            let _ = tokio::time::timeout(LOOK_EVERY, allowed.changed()).await;
        }
    }

    fn may_send(&self, who: &Who) -> bool {
        self.permits(&self.allowed.borrow(), who)
    }

    fn permits(&self, allowed: &Allowed, who: &Who) -> bool {
        let (now, grant) = (self.clock.now(), &allowed.grant);
        match who {
            Who::Vigil => allowed.unlimited || grant.at(now).allows_queries(),
            Who::Job(job) if allowed.unlimited => {
                let permit = grant.permits.get(job);
                permit.is_some_and(|deadline| now < *deadline)
            }
            Who::Job(job) => grant.permits(job, now) && grant.at(now).allows_queries(),
        }
    }

    /// Waits for what is wanted, and looks once more. Whoever waits for several tokens gets them one after another, before
    /// anybody else gets one: so what is sent at once was paid for just before.
    async fn take(self: &Arc<Self>, client: &Client, wanted: Wanted) {
        loop {
            self.permitted(&client.who).await;
            // What was taken before a permit is withdrawn is lost: it would be old when the permit comes back.
            if wanted == Wanted::NOTHING || self.take_while_open(client, wanted).await {
                return;
            }
        }
    }

    /// Takes what is wanted in turn; `false` where this client may not send (any more).
    async fn take_while_open(self: &Arc<Self>, client: &Client, wanted: Wanted) -> bool {
        let _waiting = Waiting::of(Arc::clone(self), client.clone());
        if !self.may_send(&client.who) {
            return false;
        }
        let turn = self.tokens.enter(client.clone());
        self.take_in_turn(&turn, &client.who, wanted).await
    }

    /// How many queries may be sent at once: of an origin, a small part of what a second may see, so that no second sees more.
    fn at_once(&self) -> u32 {
        if !matches!(self.resource, Resource::Origin(_)) {
            return u32::MAX;
        }
        let allowed = self.allowed.borrow();
        if allowed.unlimited {
            return u32::MAX;
        }
        let each = allowed.grant.share.rate_milli / 1000 / AT_ONCE_PART;
        u32::try_from(each).unwrap_or(u32::MAX).max(1)
    }

    /// When the last second has room for another query beside so many that are about to leave, where it is full.
    fn window_opens_at(&self, now: Moment, leaving: u32) -> Option<Moment> {
        // Writes go out many at a time; what they are promised is looser.
        if !matches!(self.resource, Resource::Origin(_)) {
            return None;
        }
        lock(&self.window).opens_at(now, leaving as usize)
    }

    /// Takes whenever it is this one's turn, while it may send; `false` where it may not any more. Dropped, it leaves the
    /// line; a token that it has taken by then is lost, as one that is not used is, and rows are given back.
    async fn take_in_turn(&self, turn: &Turn<'_>, who: &Who, wanted: Wanted) -> bool {
        let mut taken = Taken::nothing(self);
        loop {
            {
                let allowed = self.allowed.borrow();
                if !self.permits(&allowed, who) {
                    return false;
                }
                // The last look: what is permitted now is sent now.
                if allowed.unlimited || taken.is_all_of(wanted) {
                    taken.keep();
                    self.tokens.lock().note_served(turn.ticket);
                    return true;
                }
            }
            match self.try_take(turn, wanted, &mut taken) {
                None => turn.told.notified().await,
                Some(Verdict::Taken) => {}
                // Overtaken or not: told, it looks again.
                Some(Verdict::Wait(time)) => turn.told_within(time.min(LOOK_EVERY)).await,
                Some(Verdict::Never) => turn.told_within(LOOK_EVERY).await,
            }
        }
    }

    /// Takes a token, the first together with all rows, where it is this one's turn. All in one, so that nobody comes
    /// between the look and the taking.
    fn try_take(&self, turn: &Turn<'_>, wanted: Wanted, taken: &mut Taken<'_>) -> Option<Verdict> {
        let mut line = self.tokens.lock();
        if !line.is_first(turn.ticket) {
            return None;
        }
        let now = self.clock.now();
        let (token, rows) = (taken.tokens < wanted.tokens, wanted.rows - taken.rows);
        let verdict = match self.window_opens_at(now, taken.tokens) {
            Some(opens) if token && opens > now => Verdict::Wait(opens.since(now)),
            _ => lock(&self.paces).take(now, token, rows),
        };
        if verdict == Verdict::Taken {
            line.begin(turn.ticket);
            taken.tokens += u32::from(token);
            taken.rows += rows;
        }
        Some(verdict)
    }

    /// Whether rows are not limited.
    fn any_rows(&self) -> bool {
        let allowed = self.allowed.borrow();
        allowed.unlimited || allowed.grant.share.rows == Share::ANY_ROWS
    }

    /// Where so many rows were paid for, so many came.
    fn settle_rows(&self, paid: u64, came: u64) {
        if paid == came {
            return;
        }
        lock(&self.paces).settle(paid, came);
        // There may be more of them than whoever waits was told.
        if paid > came {
            self.tokens.lock().tell_all();
        }
    }
}

/// What somebody waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Wanted {
    tokens: u32,
    rows: u64,
}

impl Wanted {
    const NOTHING: Self = Self { tokens: 0, rows: 0 };
}

/// What was taken of that; rows are given back unless they are kept.
struct Taken<'a> {
    gate: &'a Gate,
    tokens: u32,
    rows: u64,
}

impl<'a> Taken<'a> {
    fn nothing(gate: &'a Gate) -> Self {
        Self {
            gate,
            tokens: 0,
            rows: 0,
        }
    }

    fn is_all_of(&self, wanted: Wanted) -> bool {
        (self.tokens, self.rows) == (wanted.tokens, wanted.rows)
    }

    fn keep(&mut self) {
        self.rows = 0;
    }
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        self.gate.settle_rows(self.rows, 0);
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

#[cfg(test)]
mod tests;
