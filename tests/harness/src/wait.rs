//! Waiting for something to become so.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

/// How long to let go by between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Asks `probe` until it gives a value, for at most `at_most` (it is asked once in any case). Blocks the thread.
///
/// # Errors
/// The last error of `probe`, with `what` was waited for.
pub fn wait_for<T>(
    what: &str,
    at_most: Duration,
    mut probe: impl FnMut() -> Result<T>,
) -> Result<T> {
    let begun = Instant::now();
    loop {
        match probe() {
            Ok(value) => return Ok(value),
            Err(error) if begun.elapsed() >= at_most => {
                return Err(error).with_context(|| format!("waited {at_most:?} for {what}"));
            }
            Err(_) => thread::sleep(LOOK_EVERY),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::ensure;

    #[test]
    fn gives_what_the_probe_gives_as_soon_as_it_does() {
        let mut asked = 0;
        let found = wait_for("the third time", Duration::from_secs(60), || {
            asked += 1;
            ensure!(asked == 3, "only {asked}");
            Ok(asked)
        });
        assert_eq!(found.unwrap(), 3);
    }

    #[test]
    fn gives_up_with_the_last_reason() {
        let error =
            wait_for::<()>("the end", Duration::ZERO, || anyhow::bail!("not yet")).unwrap_err();
        assert_eq!(format!("{error:#}"), "waited 0ns for the end: not yet");
    }
}
