//! A world by its seed.

use std::collections::BTreeMap;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use stoke_core::job::{Life, Phase};
use stoke_core::ledger::{Share, Timing};
use stoke_core::names::{JobName, Resource};

use super::coordinator::Coordinator;
use super::fences::Fences;
use super::machine::{Machine, Nanos, SECOND, nanos};
use super::network::{JOBS_MAX, Weather};
use super::store::Store;
use super::work::{Cache, Job, PlanStore};
use super::worker::Worker;
use super::world::{Event, Report, World};

/// How many seeds have work; in the others workers want whatever they can get.
const WORKING: f64 = 0.6;
/// How long after all has healed the last job is over at the latest.
const ENDS_WITHIN: Nanos = 300 * SECOND;
/// One seed in so many has many workers.
const CROWDED_ONE_IN: u32 = 80;

impl World {
    pub(super) fn new(seed: u64) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        #[expect(clippy::expect_used, reason = "letters and a slash")]
        let resource: Resource = "origin/db".parse().expect("a resource");
        let workers = if rng.random_ratio(1, CROWDED_ONE_IN) {
            rng.random_range(20..=40)
        } else {
            rng.random_range(2..=6)
        };
        let coordinators = rng.random_range(2..=3);
        let timing = timing(&mut rng);
        let bad = rng.random_bool(0.7);
        let mut permille = |most: u32| if bad { rng.random_range(0..=most) } else { 0 };
        let weather = Weather {
            lost_permille: permille(50),
            late_permille: permille(30),
            repeated_permille: permille(30),
        };
        let mut world = Self {
            now: 0,
            queue: BTreeMap::new(),
            queued: 0,
            store: Store::new(resource.clone()),
            resource,
            timing,
            ttl: Duration::from_secs(5),
            caps_per_txn: if rng.random_bool(0.3) { 1 } else { 100 },
            weather,
            target: Share::NONE,
            workers: Vec::new(),
            coordinators: Vec::new(),
            works: false,
            must_end: false,
            ends_by: 0,
            jobs: Vec::new(),
            runs_started: 0,
            cache: Cache::default(),
            plans: PlanStore::default(),
            broken: None,
            running: BTreeMap::new(),
            running_of: BTreeMap::new(),
            troubled_until: 0,
            trace: None,
            faults: Vec::new(),
            fences: Fences::default(),
            report: Report::default(),
            rng,
        };
        world.target = world.any_target();
        for _ in 0..coordinators {
            let machine = world.any_machine();
            world.coordinators.push(Coordinator::new(machine));
        }
        for nth in 0..workers {
            let machine = world.any_machine();
            world.workers.push(Worker::new(nth, machine, timing));
        }
        world.begin();
        world
    }

    /// Starts everything, and plans what goes wrong, until when, and when it ends.
    fn begin(&mut self) {
        self.works = self.rng.random_bool(WORKING);
        let healed: Nanos = self.rng.random_range(5 * SECOND..40 * SECOND);
        if self.works {
            self.begin_work(healed);
        } else {
            self.begin_permits();
        }
        (0..self.coordinators.len()).for_each(|nth| self.start_coordinator(nth));
        (0..self.workers.len()).for_each(|nth| self.start_worker(nth));
        self.plan_faults(healed);
        if self.weather != Weather::default() {
            self.troubled_until = healed;
        }
        self.after(healed, Event::Heal);
        // A leader may have to be found first.
        let end = healed + nanos(self.ttl) + 2 * nanos(self.timing.quarantine) + 5 * SECOND;
        self.ends_by = end + ENDS_WITHIN;
        self.after(end, Event::End);
    }

    /// Jobs as far as permits go.
    fn begin_permits(&mut self) {
        for name in ["first", "second"] {
            self.jobs.push(Job::bare(named(name)));
            let running = Life {
                phase: Phase::Running,
                ..Life::new()
            };
            self.put_job(self.jobs.len() - 1, &running);
        }
    }

    /// Jobs that are created one after the other, until so late.
    fn begin_work(&mut self, until: Nanos) {
        for nth in 0..self.rng.random_range(1..=JOBS_MAX) {
            self.jobs
                .push(Job::any(named(&format!("j{nth}")), &mut self.rng));
            let at = if nth == 0 {
                0
            } else {
                self.rng.random_range(0..until)
            };
            self.after(at, Event::Create(nth));
        }
        self.workers
            .iter_mut()
            .for_each(|worker| worker.demands = false);
        self.after(0, Event::Application);
    }

    /// With a clock within the drift: as often as not at its edge.
    pub(super) fn any_machine(&mut self) -> Machine {
        let most = i64::from(self.timing.drift_permille) * 1000;
        let drift_ppm = match self.rng.random_range(0..4) {
            0 => most,
            1 => -most,
            _ => self.rng.random_range(-most..=most),
        };
        Machine::new(self.rng.random_range(0..1000 * SECOND), drift_ppm)
    }
}

fn named(name: &str) -> JobName {
    #[expect(clippy::expect_used, reason = "letters and digits")]
    name.parse().expect("a name")
}

fn timing(rng: &mut StdRng) -> Timing {
    let any = |rng: &mut StdRng, of: [u64; 3]| of[rng.random_range(0..3)];
    let term = Duration::from_secs(any(rng, [4, 5, 8]));
    let drift_permille = 10;
    let timing = Timing {
        term,
        renew_every: term / 5,
        renew_deadline: Duration::from_secs(1),
        quarantine: Timing::least_quarantine(term, drift_permille),
        drift_permille,
        statement_timeout: Duration::from_secs(any(rng, [1, 5, 30])),
    };
    debug_assert_eq!(timing.check(), Ok(()));
    timing
}
