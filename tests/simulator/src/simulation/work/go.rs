//! What a run has in flight: it asks the cache, loads from the origin, and writes to the cache.

use rand::Rng;
use stoke_core::job::Mode;
use stoke_core::progress::Outcome;
use stoke_worker::doors::{Task, Verdict, write_is_only_absent};

use super::job::Kind;
use super::outside::Value;
use super::run::{Run, Stop};
use crate::simulation::machine::{MS, Nanos};
use crate::simulation::world::{Event, World};

/// How long a call to the cache takes at most.
const CACHE_MAX: Nanos = 60 * MS;
/// How long until a permit is looked at again.
const PERMIT_AGAIN: Nanos = 100 * MS;
/// One query in so many fails for the origin's sake.
const OUTAGE_ONE_IN: u32 = 12;
/// How long nothing is loaded after that.
const OUTAGE: Nanos = 500 * MS;
/// How many of a thousand writes get no answer.
const UNANSWERED_PERMILLE: u32 = 10;

/// A go: what it has, and whose it is.
#[derive(Clone, Debug)]
pub(in crate::simulation) struct Go {
    worker: usize,
    life: u32,
    job: usize,
    run: u64,
    tasks: Vec<Task>,
}

impl Go {
    pub(in crate::simulation) const fn of(&self) -> (usize, u32) {
        (self.worker, self.life)
    }
}

/// A load whose query has been sent.
#[derive(Clone, Debug)]
pub(in crate::simulation) struct Load {
    go: Go,
    /// The origin was out of reach.
    is_outage: bool,
}

impl Load {
    pub(in crate::simulation) const fn job(&self) -> usize {
        self.go.job
    }
}

impl World {
    fn run_of(&mut self, go: &Go) -> Option<&mut Run> {
        let worker = &mut self.workers[go.worker];
        let run = worker.runs.get_mut(&go.job)?;
        if worker.machine.life != go.life {
            return None;
        }
        if run.number != go.run {
            // What it gave counts nowhere: it ends here.
            if let Some(before) = run.goes_before.get_mut(&go.run) {
                *before -= 1;
            }
            run.goes_before.retain(|_, count| *count > 0);
            return None;
        }
        Some(run)
    }

    /// Asks the cache first, but where everything is written over.
    pub(super) fn ask_cache(
        &mut self,
        nth: usize,
        job: usize,
        number: u64,
        mode: Mode,
        tasks: Vec<Task>,
    ) {
        if tasks.is_empty() {
            return;
        }
        let life = self.workers[nth].machine.life;
        let takes = self.rng.random_range(MS..CACHE_MAX);
        let Some(run) = self.workers[nth].runs.get_mut(&job) else {
            return;
        };
        if mode == Mode::Overwrite {
            tasks.into_iter().for_each(|task| run.part.queue(task));
            return;
        }
        run.part.begin(&tasks);
        run.probes += 1;
        run.goes += 1;
        let go = Go {
            worker: nth,
            life,
            job,
            run: number,
            tasks,
        };
        self.after(takes, Event::Probe(go));
    }

    /// A probe is about to be sent.
    pub(in crate::simulation) fn probe(&mut self, go: Go) {
        let permits = self.permits(go.worker, go.job);
        let takes = self.rng.random_range(MS..CACHE_MAX);
        let Some(run) = self.run_of(&go) else {
            return;
        };
        match run.stop {
            // It gives nothing.
            Some(Stop::Abort) => self.probed(go, &[]),
            Some(Stop::Leave) => {
                let none = vec![false; go.tasks.len()];
                self.probed(go, &none);
            }
            None if !permits => self.after(PERMIT_AGAIN, Event::Probe(go)),
            None => {
                let there = go
                    .tasks
                    .iter()
                    .map(|task| self.cache.has(&task.key))
                    .collect();
                self.after(takes, Event::Probed(go, there));
            }
        }
    }

    /// A probe's answer: which of its keys are there.
    pub(in crate::simulation) fn probed(&mut self, go: Go, there: &[bool]) {
        let at = self.store.instant(self.now);
        let (worker, job) = (go.worker, go.job);
        let Some(run) = self.run_of(&go) else {
            return;
        };
        run.probes -= 1;
        run.goes -= 1;
        for (task, there) in go.tasks.into_iter().zip(there) {
            if *there {
                run.part
                    .settle(task, Verdict::Done(Outcome::Present), at, 0.0);
            } else {
                run.part.missing(task);
            }
        }
        self.turn(worker, job);
    }

    /// The next batch to load, of whichever job may.
    pub(in crate::simulation) fn next_load(&mut self, nth: usize) -> Option<Load> {
        let now = self.now;
        let fails = self.rng.random_ratio(1, OUTAGE_ONE_IN);
        let jobs: Vec<usize> = self.workers[nth].runs.keys().copied().collect();
        let permitted = jobs
            .into_iter()
            .filter(|job| self.permits(nth, *job))
            .collect::<Vec<_>>();
        let worker = &mut self.workers[nth];
        for job in permitted {
            let Some(run) = worker.runs.get_mut(&job) else {
                continue;
            };
            if run.stop.is_some() || now < run.outage_until {
                continue;
            }
            let Some(tasks) = run.part.next_batch(true, |_| true) else {
                continue;
            };
            run.part.begin(&tasks);
            run.goes += 1;
            let go = Go {
                worker: nth,
                life: worker.machine.life,
                job,
                run: run.number,
                tasks,
            };
            return Some(Load {
                go,
                is_outage: fails && self.weather != Default::default(),
            });
        }
        None
    }

    /// A query's answer has reached its worker.
    pub(in crate::simulation) fn loaded(&mut self, load: Load) {
        let (now, at) = (self.now, self.store.instant(self.now));
        let random = self.rng.random_range(0.0..1.0);
        let Load { mut go, is_outage } = load;
        let (worker, job) = (go.worker, go.job);
        if self.run_of(&go).is_none() {
            return;
        }
        let tasks = std::mem::take(&mut go.tasks);
        let mut found = Vec::new();
        for task in tasks {
            let verdict = if is_outage {
                None
            } else {
                match self.ask(job, task.rank.0) {
                    Kind::Found => {
                        found.push(task);
                        continue;
                    }
                    Kind::Absent => Some(Verdict::Done(Outcome::Absent)),
                    Kind::Bad => Some(Verdict::Failed("bad".into())),
                    Kind::Poison | Kind::Flaky(_) => Some(Verdict::Again("busy".into())),
                }
            };
            let Some(run) = self.run_of(&go) else {
                return;
            };
            match verdict {
                Some(verdict) => drop(run.part.settle(task, verdict, at, random)),
                None => run.part.missing(task),
            }
        }
        if let Some(run) = self.run_of(&go)
            && is_outage
        {
            run.outage_until = now + OUTAGE;
        }
        go.tasks = found;
        if go.tasks.is_empty() {
            return self.gone(worker, job, go.run);
        }
        self.write(go);
    }

    /// What the origin says of an entry now.
    fn ask(&mut self, job: usize, rank: u64) -> Kind {
        let entry = usize::try_from(rank)
            .ok()
            .and_then(|rank| self.jobs[job].entries.get_mut(rank));
        let Some(entry) = entry else {
            return Kind::Absent;
        };
        let kind = entry.kind;
        if let Kind::Flaky(times) = kind {
            entry.kind = if times > 1 {
                Kind::Flaky(times - 1)
            } else {
                Kind::Found
            };
        }
        kind
    }

    /// Values are about to be written.
    pub(in crate::simulation) fn write(&mut self, go: Go) {
        let permits = self.permits(go.worker, go.job);
        let takes = self.rng.random_range(MS..CACHE_MAX);
        let Some(run) = self.run_of(&go) else {
            return;
        };
        if run.stop == Some(Stop::Abort) {
            return self.gone(go.worker, go.job, go.run);
        }
        if permits {
            self.after(takes, Event::Write(go));
        } else {
            self.after(PERMIT_AGAIN, Event::MayWrite(go));
        }
    }

    /// Values reach the cache, whatever has become of who sent them.
    pub(in crate::simulation) fn written(&mut self, go: Go) {
        let job = &self.jobs[go.job];
        let only_absent = write_is_only_absent(job.mode);
        for task in &go.tasks {
            let before = self
                .cache
                .set(&task.key, Value::Warmed(go.job), only_absent);
            if before == Some(Value::Fresh) && job.mode != Mode::Overwrite {
                let key = String::from_utf8_lossy(&task.key);
                self.broken = Some(format!(
                    "W5: the application's value of {key} was written over"
                ));
            }
        }
        if self.is_aborted(go.job) {
            self.broken = Some(format!("B4: {} is aborted, and still writes", job.name));
        }
        let takes = self.rng.random_range(MS..CACHE_MAX);
        let answered = !self.happens(UNANSWERED_PERMILLE);
        self.after(takes, Event::Wrote(go, answered));
    }

    /// The cache's answer has reached the worker.
    pub(in crate::simulation) fn wrote(&mut self, mut go: Go, answered: bool) {
        let at = self.store.instant(self.now);
        let random = self.rng.random_range(0.0..1.0);
        let tasks = std::mem::take(&mut go.tasks);
        let Some(run) = self.run_of(&go) else {
            return;
        };
        for task in tasks {
            let verdict = if answered {
                Verdict::Done(Outcome::Warmed)
            } else {
                Verdict::Again("connection lost".into())
            };
            run.part.settle(task, verdict, at, random);
        }
        self.gone(go.worker, go.job, go.run);
    }

    /// A go has ended.
    fn gone(&mut self, nth: usize, job: usize, number: u64) {
        let Some(run) = self.workers[nth].runs.get_mut(&job) else {
            return;
        };
        if run.number == number {
            run.goes -= 1;
            self.turn(nth, job);
        }
    }
}
