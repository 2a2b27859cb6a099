//! Many seeds, on all cores.

use std::fmt;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use super::{Failure, Fence, Report, simulate_without};

/// Seeds, one after the other.
#[derive(Clone, Copy, Debug)]
pub struct Seeds {
    /// The first.
    pub first: u64,
    /// How many.
    pub count: u64,
}

impl Seeds {
    /// `STOKE_SEED` alone is one seed; with `SEEDS` it is the first of so many. Without it, the first is drawn by lot, or, where
    /// `first` is given, that one.
    ///
    /// # Errors
    /// Where one of them is no number.
    pub fn from_environment(usual: u64, first: Option<u64>) -> Result<Self, String> {
        let chosen = number("STOKE_SEED")?;
        let count = number("SEEDS")?;
        Ok(Self {
            first: chosen
                .or(first)
                .unwrap_or_else(|| u64::from(rand::random::<u32>())),
            count: count.unwrap_or(if chosen.is_some() { 1 } else { usual }),
        })
    }
}

impl fmt::Display for Seeds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} seeds from {} on", self.count, self.first)
    }
}

fn number(variable: &str) -> Result<Option<u64>, String> {
    let Ok(text) = std::env::var(variable) else {
        return Ok(None);
    };
    let number = text.parse();
    number
        .map(Some)
        .map_err(|_| format!("{variable} is {text:?}, which is no whole number"))
}

/// Runs them all; the reports together.
///
/// # Errors
/// The first failure that is found.
pub fn run(seeds: Seeds, threads: usize) -> Result<Report, Failure> {
    run_without(None, seeds, threads)
}

/// Runs them all, in worlds where this is not compared; the reports together.
///
/// # Errors
/// The first failure that is found.
pub fn run_without(fence: Option<Fence>, seeds: Seeds, threads: usize) -> Result<Report, Failure> {
    let next = AtomicU64::new(0);
    let failed: Mutex<Option<Failure>> = Mutex::new(None);
    let total = Mutex::new(Report::default());
    let work = || {
        loop {
            let nth = next.fetch_add(1, Ordering::Relaxed);
            if nth >= seeds.count {
                return;
            }
            match simulate_without(fence, seeds.first.wrapping_add(nth)) {
                Ok(report) => *locked(&total) += report,
                Err(failure) => {
                    next.store(seeds.count, Ordering::Relaxed);
                    locked(&failed).get_or_insert(failure);
                }
            }
        }
    };
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(work);
        }
    });
    let failed = locked(&failed).take();
    let total = std::mem::take(&mut *locked(&total));
    failed.map_or(Ok(total), Err)
}

fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}
