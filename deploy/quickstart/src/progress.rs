//! How a running job is shown: a bar on a terminal, else a line a second. On standard error.

use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use stoke_proto::v1::{Job, JobState, Outcomes};

use crate::numbers::{grouped, percent};

/// How often the bar moves its clock.
const TICK_EVERY: Duration = Duration::from_millis(100);

/// How often there is a line where there is no terminal.
const LINE_EVERY: Duration = Duration::from_secs(1);

const STYLE: &str = "{elapsed:>4} [{bar:40}] {msg}";

/// A job on its way.
pub(crate) struct Bar {
    /// Hidden where standard error is no terminal.
    bar: ProgressBar,
    line_due: Instant,
}

impl Bar {
    /// For a job of about so many keys: it says itself how many, once it has planned.
    pub(crate) fn new(keys: u64) -> Self {
        let bar = ProgressBar::new(keys);
        // The template is a constant: where it is wrong, the bar looks different.
        if let Ok(style) = ProgressStyle::with_template(STYLE) {
            bar.set_style(style.progress_chars("=> "));
        }
        bar.enable_steady_tick(TICK_EVERY);
        Self {
            bar,
            line_due: Instant::now(),
        }
    }

    /// Shows the job as it is now.
    pub(crate) fn show(&mut self, job: &Job) {
        let progress = job.progress.unwrap_or_default();
        let done = total(&progress.outcomes.unwrap_or_default());
        let text = match job.state() {
            JobState::Pending | JobState::Planning => "reading and ranking the keys".to_owned(),
            _ => format!(
                "{} of {} keys, coverage {}{}",
                grouped(done),
                grouped(progress.planned),
                percent(progress.coverage),
                why(job)
            ),
        };
        if self.bar.is_hidden() {
            self.print(text);
            return;
        }
        if progress.planned > 0 {
            self.bar.set_length(progress.planned);
        }
        self.bar.set_position(done);
        self.bar.set_message(text);
    }

    /// Leaves the bar as it is now.
    pub(crate) fn finish(&self) {
        self.bar.abandon();
    }

    fn print(&mut self, text: String) {
        let now = Instant::now();
        if now >= self.line_due {
            eprintln!("  {text}");
            self.line_due = now + LINE_EVERY;
        }
    }
}

/// The entries that have an outcome.
pub(crate) fn total(outcomes: &Outcomes) -> u64 {
    let Outcomes {
        warmed,
        present,
        absent,
        skipped,
        failed,
        cancelled,
    } = outcomes;
    warmed + present + absent + skipped + failed + cancelled
}

/// What the job says of its state, where it says something.
fn why(job: &Job) -> String {
    if job.reason.is_empty() {
        String::new()
    } else {
        format!(" ({})", job.reason)
    }
}
