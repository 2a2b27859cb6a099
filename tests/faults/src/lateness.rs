//! How busy the machine itself was: how late its timers fired for a thread that does nothing else. A ceiling is not used in full
//! where every timer is late, and that is no fault of Stoke's; the table shows it beside the figures, and excuses nothing by it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{JoinHandle, sleep, spawn};
use std::time::{Duration, Instant};

/// How long each sleep shall take.
const SLEEP: Duration = Duration::from_millis(20);

/// Measures, in the background, until it is asked.
pub(crate) struct Watch {
    enough: Arc<AtomicBool>,
    thread: JoinHandle<Vec<Duration>>,
}

impl Watch {
    /// Begins.
    pub(crate) fn start() -> Self {
        let enough = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&enough);
        let thread = spawn(move || {
            let mut late = Vec::new();
            while !told.load(Ordering::Relaxed) {
                let begun = Instant::now();
                sleep(SLEEP);
                late.push(begun.elapsed().saturating_sub(SLEEP));
            }
            late
        });
        Self { enough, thread }
    }

    /// How late the median timer was, and the one of which one in a hundred is later.
    pub(crate) fn finish(self) -> (Duration, Duration) {
        self.enough.store(true, Ordering::Relaxed);
        // The thread cannot panic; where it did, nothing was measured.
        summary(self.thread.join().unwrap_or_default())
    }
}

fn summary(mut late: Vec<Duration>) -> (Duration, Duration) {
    late.sort_unstable();
    let at = |percent: usize| {
        let index = (late.len() * percent / 100).min(late.len().saturating_sub(1));
        late.get(index).copied().unwrap_or_default()
    };
    (at(50), at(99))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_and_the_late_one_of_a_hundred() {
        let late = (0..100).rev().map(Duration::from_millis).collect();
        assert_eq!(
            summary(late),
            (Duration::from_millis(50), Duration::from_millis(99))
        );
        assert_eq!(summary(vec![]), (Duration::ZERO, Duration::ZERO));
    }
}
