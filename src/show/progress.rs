//! A job's progress on standard error: a bar on a terminal, plain lines otherwise.

use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use stoke_proto::v1::{self, JobState};

use super::job::{done, planned, ranges};
use super::number::{grouped, percent};
use super::pace::Pace;
use super::style::state_name;
use super::{plain, popularity, time};
use crate::print;

/// How long at least between two plain lines about the same state.
const LINE_EVERY: Duration = Duration::from_secs(1);

/// Shows a job's progress.
pub struct Progress {
    bar: Option<ProgressBar>,
    account: Account,
}

impl Progress {
    /// A bar where standard error is a terminal that can show one.
    pub fn new() -> Self {
        let bar = ProgressBar::with_draw_target(Some(0), ProgressDrawTarget::stderr());
        let style = ProgressStyle::with_template("{prefix:9} [{bar:30}] {msg}")
            .unwrap_or_else(|_| ProgressStyle::default_bar());
        bar.set_style(style.progress_chars("=> "));
        let bar = (!bar.is_hidden()).then_some(bar);
        Self {
            bar,
            account: Account::default(),
        }
    }

    /// Shows how a job stands.
    pub fn job(&mut self, job: &v1::Job) {
        let told = self.account.tell(Instant::now(), job);
        let Some(bar) = &self.bar else {
            told.line
                .iter()
                .chain(&told.news)
                .for_each(|l| print::show(l));
            return;
        };
        let progress = job.progress.unwrap_or_default();
        let (length, position) = length_and_position(&progress);
        bar.set_length(length.max(1));
        bar.set_position(position);
        bar.set_prefix(state_name(job.state()));
        bar.set_message(told.standing);
        told.news.iter().for_each(|line| bar.println(line));
        bar.tick();
    }

    /// Says something beside it.
    pub fn note(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.println(format!("stoke: {text}")),
            None => print::say(text),
        }
    }

    /// Takes the bar away: what comes next is the end.
    pub fn finish(self) {
        if let Some(bar) = self.bar {
            bar.finish_and_clear();
        }
    }
}

/// What has been told of a job, and hence what is news.
#[derive(Debug, Default)]
struct Account {
    pace: Pace,
    last_line: Option<(Instant, JobState)>,
    reason: String,
    holds: Vec<v1::Hold>,
    troubles: Vec<v1::Trouble>,
    /// The budgets that guards hold down.
    slowed: Vec<String>,
    /// The kinds of what it was warned of.
    warned: Vec<String>,
    /// Whether what is to be expected was told.
    expected: bool,
}

/// What there is to tell.
#[derive(Debug, Default)]
struct Told {
    /// How the job stands, without its state.
    standing: String,
    /// The same with its state, where a line is due.
    line: Option<String>,
    /// What was not so before.
    news: Vec<String>,
}

impl Account {
    fn tell(&mut self, now: Instant, job: &v1::Job) -> Told {
        let progress = job.progress.unwrap_or_default();
        if job.state() == JobState::Running {
            let done = done(&progress);
            self.pace.note(now, done);
        } else {
            self.pace.forget();
        }
        let standing = standing(job, &self.pace);
        let due = self.last_line.is_none_or(|(last, state)| {
            state != job.state() || now.duration_since(last) >= LINE_EVERY
        });
        let line = due.then(|| format!("{}: {standing}", state_name(job.state())));
        if due {
            self.last_line = Some((now, job.state()));
        }
        Told {
            standing,
            line,
            news: self.news(job),
        }
    }

    fn news(&mut self, job: &v1::Job) -> Vec<String> {
        let mut news = Vec::new();
        if self.reason != job.reason {
            self.reason.clone_from(&job.reason);
            if !job.reason.is_empty() {
                news.push(format!("  because: {}", plain(&job.reason)));
            }
        }
        if self.holds != job.holds {
            let new = job.holds.iter().filter(|hold| !self.holds.contains(hold));
            news.extend(new.map(|hold| about("held by", &hold.holder, &hold.reason)));
            let gone = self.holds.iter().filter(|hold| {
                let still = |now: &v1::Hold| now.holder == hold.holder;
                !job.holds.iter().any(still)
            });
            news.extend(gone.map(|hold| format!("  no longer held by {}", plain(&hold.holder))));
            self.holds.clone_from(&job.holds);
        }
        if self.troubles != job.troubles {
            let new = job
                .troubles
                .iter()
                .filter(|trouble| !self.troubles.contains(trouble));
            news.extend(new.map(|trouble| about("trouble at", &trouble.worker, &trouble.what)));
            let gone = self.troubles.iter().filter(|trouble| {
                let still = |now: &v1::Trouble| now.worker == trouble.worker;
                !job.troubles.iter().any(still)
            });
            news.extend(
                gone.map(|trouble| format!("  {} is out of trouble", plain(&trouble.worker))),
            );
            self.troubles.clone_from(&job.troubles);
        }
        if let Some(expected) = job.popularity.as_ref().filter(|_| !self.expected) {
            self.expected = true;
            news.push(format!("  expected: {}", popularity::text(expected)));
        }
        // How far one is down changes all the time: that it is begins and ends.
        let budget = |slowed: &String| slowed.split(' ').next().unwrap_or_default().to_owned();
        let slowed: Vec<String> = job.slowed.iter().map(budget).collect();
        let new = job
            .slowed
            .iter()
            .filter(|slowed| !self.slowed.contains(&budget(slowed)));
        news.extend(new.map(|slowed| format!("  slowed: {}", plain(slowed))));
        let gone = self.slowed.iter().filter(|budget| !slowed.contains(budget));
        news.extend(gone.map(|budget| format!("  no longer slowed: {}", plain(budget))));
        self.slowed = slowed;
        // So does how much something takes: a warning is told once, and once more where it comes again.
        let new = job
            .warnings
            .iter()
            .filter(|warning| !self.warned.contains(&warning.kind));
        news.extend(new.map(|warning| format!("  warning: {}", plain(&warning.what))));
        let warned = job.warnings.iter().map(|warning| warning.kind.clone());
        self.warned = warned.collect();
        news
    }
}

fn about(what: &str, whom: &str, why: &str) -> String {
    let whom = plain(whom);
    if why.is_empty() {
        format!("  {what} {whom}")
    } else {
        format!("  {what} {whom}: {}", plain(why))
    }
}

/// How long a bar is, and how far it has come: in keys, or by ranges, while their keys are not known.
fn length_and_position(progress: &v1::Progress) -> (u64, u64) {
    let scans_on = progress.ranges > progress.ranges_read;
    if scans_on && progress.ranges >= progress.pending {
        (progress.ranges, progress.ranges_read)
    } else {
        (progress.planned, done(progress))
    }
}

/// How a job stands, in a few words.
fn standing(job: &v1::Job, pace: &Pace) -> String {
    let progress = job.progress.unwrap_or_default();
    match job.state() {
        JobState::Pending => return "waits for its uploads, or for a worker".into(),
        JobState::Planning => return "reading and ranking the keys".into(),
        _ => {}
    }
    let done = done(&progress);
    let mut text = format!("{}/{} keys", grouped(done), planned(job));
    if let Some(ranges) = ranges(&progress) {
        text.push_str(&format!(" ({ranges})"));
    }
    if !job.spec.as_ref().is_some_and(|spec| spec.dry_run) {
        text.push_str(&format!(", coverage {}", percent(progress.coverage)));
    }
    if let Some(rate) = pace.rate() {
        text.push_str(&format!(", {rate:.0} keys/s"));
    }
    // What is pending of a scan is not known in keys.
    let pending = if progress.ranges > progress.ranges_read {
        None
    } else {
        pace.seconds_left(progress.pending)
    };
    if let Some(left) = pending {
        text.push_str(&format!(", {} left", time::whole(left)));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::super::samples::{self, in_state};
    use super::*;

    const EXPECTED: &str = "  expected: hit rate 42.0 % by the top 0.1 % in 1.0 s, 61.0 % by the top 1 % in 2.0 s, 80.0 % by the top 10 %, \
        100.0 % by all in 3m 20s; Zipf's exponent 0.98, within 1.2 %";

    /// What is printed when these jobs come so many milliseconds after the first.
    fn lines(jobs: &[(u64, v1::Job)]) -> Vec<String> {
        let begun = Instant::now();
        let mut account = Account::default();
        let mut lines = Vec::new();
        for (ms, job) in jobs {
            let told = account.tell(begun + Duration::from_millis(*ms), job);
            lines.extend(told.line.into_iter().chain(told.news));
        }
        lines
    }

    #[test]
    fn there_is_a_line_a_second_at_most_and_one_at_each_change_of_state() {
        let running = |warmed| in_state(JobState::Running, warmed);
        let jobs = [
            (0, in_state(JobState::Planning, 0)),
            (100, running(0)),
            (400, running(500)),
            (900, running(1000)),
            (1100, running(2000)),
            (1500, running(2500)),
            (2100, running(4000)),
            (2200, in_state(JobState::Succeeded, 99_655)),
        ];
        assert_eq!(
            lines(&jobs),
            [
                "PLANNING: reading and ranking the keys",
                EXPECTED,
                "RUNNING: 345/100,000 keys, coverage 93.6 %",
                "RUNNING: 2,345/100,000 keys, coverage 93.6 %, 2000 keys/s, 49s left",
                "RUNNING: 4,345/100,000 keys, coverage 93.6 %, 2000 keys/s, 48s left",
                "SUCCEEDED: 100,000/100,000 keys, coverage 93.6 %",
            ]
        );
    }

    #[test]
    fn holds_reasons_and_troubles_are_told_when_they_change_and_only_then() {
        let mut worse = samples::paused();
        // Further down, which is no news.
        worse.slowed[0] = worse.slowed[0].replace("140/s", "98/s");
        worse.warnings[0].what = "it takes about 3h".into();
        worse.troubles[0].what = "cache main: LOADING".into();
        worse.holds.push(v1::Hold {
            holder: "guard/lag".into(),
            reason: String::new(),
        });
        let mut aborting = in_state(JobState::Aborting, 12_000);
        aborting.reason = "waiting for w2".into();
        let jobs = [
            (0, in_state(JobState::Running, 12_000)),
            (10, samples::paused()),
            (20, samples::paused()),
            (30, worse),
            (40, aborting.clone()),
            (50, aborting),
        ];
        assert_eq!(
            lines(&jobs),
            [
                "RUNNING: 12,345/100,000 keys, coverage 93.6 %",
                EXPECTED,
                "PAUSED: 12,345/100,000 keys, coverage 93.6 %",
                "  held by operator: lunch",
                "  trouble at w1-5f: cache main: connection refused",
                "  slowed: origin/shop at 140/s of 200/s: guard latency slows: p99 812 ms over 10 s, above 200 ms",
                "  warning: it takes about 2h",
                "  held by guard/lag",
                "  trouble at w1-5f: cache main: LOADING",
                "ABORTING: 12,345/100,000 keys, coverage 93.6 %",
                "  because: waiting for w2",
                "  no longer held by operator",
                "  no longer held by guard/lag",
                "  w1-5f is out of trouble",
                "  no longer slowed: origin/shop",
            ]
        );
    }
}
