//! Progress on stderr: a bar on a terminal, plain lines otherwise.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use stoke_proto::v1;

/// How long at least between two plain lines.
const LINE_EVERY: Duration = Duration::from_secs(1);

/// Shows a job's progress.
pub struct Show {
    bar: Option<ProgressBar>,
    last_line: Option<Instant>,
}

impl Show {
    pub fn new() -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::with_draw_target(Some(0), ProgressDrawTarget::stderr());
            let style = ProgressStyle::with_template(
                "{msg:9} [{bar:40}] {human_pos}/{human_len} keys, {elapsed}",
            );
            bar.set_style(
                style
                    .unwrap_or_else(|_| ProgressStyle::default_bar())
                    .progress_chars("=> "),
            );
            bar
        });
        Self {
            bar,
            last_line: None,
        }
    }

    /// Shows how a job stands.
    pub fn job(&mut self, job: &v1::Job) {
        let progress = job.progress.unwrap_or_default();
        let done = progress.planned.saturating_sub(progress.pending);
        let state = job.state().as_str_name().trim_start_matches("JOB_STATE_");
        if let Some(bar) = &self.bar {
            bar.set_length(progress.planned);
            bar.set_position(done);
            bar.set_message(state);
            return;
        }
        let now = Instant::now();
        if super::is_over(job)
            || self
                .last_line
                .is_none_or(|last| now.duration_since(last) >= LINE_EVERY)
        {
            self.last_line = Some(now);
            let coverage = progress.coverage * 100.0;
            eprintln!(
                "{state} {done}/{} keys, coverage {coverage:.1} %",
                progress.planned
            );
        }
    }

    pub fn finish(self) {
        if let Some(bar) = self.bar {
            bar.finish_and_clear();
        }
    }
}
