//! Streams that last, and are begun again where they break.

use std::time::Duration;

use tokio::time::Instant;

use crate::exit::{Exit, Failure};

/// How long between two attempts.
const EVERY: Duration = Duration::from_secs(1);

/// Whether a stream that broke is begun again. An address where nobody has ever answered is likely wrong, and said at once; whoever
/// has answered before is waited for: coordinators are restarted.
#[derive(Debug)]
pub struct Again {
    /// For how long nobody need answer.
    patience: Duration,
    /// Whether anybody ever has.
    answered: bool,
    /// Since when nobody does.
    silent: Option<Instant>,
}

impl Again {
    /// With so much patience; `answered`: somebody has answered before.
    pub const fn new(patience: Duration, answered: bool) -> Self {
        Self {
            patience,
            answered,
            silent: None,
        }
    }

    /// Somebody has answered.
    pub const fn answered(&mut self) {
        self.answered = true;
        self.silent = None;
    }

    /// Waits before the next attempt, after one that has failed. `told` is called where the failure is news: the first in a row.
    ///
    /// # Errors
    /// The failure, where nothing is to be expected of another attempt.
    pub async fn after(
        &mut self,
        failure: Failure,
        told: impl FnOnce(&anyhow::Error),
    ) -> Result<(), Failure> {
        let (exit, error) = &failure;
        let silent = self.silent.map_or(Duration::ZERO, |since| since.elapsed());
        if *exit != Exit::Unreachable || !self.answered || silent >= self.patience {
            return Err(failure);
        }
        if self.silent.is_none() {
            self.silent = Some(Instant::now());
            told(error);
        }
        tokio::time::sleep(EVERY).await;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use anyhow::anyhow;

    use super::*;

    const fn failure(exit: Exit) -> impl Fn() -> Failure {
        move || (exit, anyhow!("no"))
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_has_answered_is_waited_for_and_said_to_be_away_once() {
        let gone = failure(Exit::Unreachable);
        let mut again = Again::new(Duration::from_secs(10), false);
        assert!(again.after(gone(), |_| unreachable!()).await.is_err());
        again.answered();
        let mut told = 0;
        let mut attempts = 0;
        while again.after(gone(), |_| told += 1).await.is_ok() {
            attempts += 1;
        }
        assert_eq!((attempts, told), (10, 1));
        again.answered();
        assert!(again.after(gone(), |_| told += 1).await.is_ok());
        assert_eq!(told, 2, "it is news again");
        let refused = failure(Exit::Usage);
        assert!(again.after(refused(), |_| unreachable!()).await.is_err());
    }
}
