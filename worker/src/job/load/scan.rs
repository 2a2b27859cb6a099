//! Reading a range of a scan, page by page, and writing its rows.
//!
//! While a page is written the next one is read, and no more than that: so a slow cache slows the reading down, and memory holds
//! two pages. A page pays for its rows before it is read, as loads do; it asks for fewer where a second's share of rows is less,
//! or where rows are large.
//!
//! Rows are counted when the range has been read to its end, all at once. Where its reading ends before (a hold, an outage, the
//! partition leaves), how far it has come is kept as long as this run goes on, and whoever else takes it over begins anew: rows
//! that were written are present then.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use stoke_core::job::Mode;
use stoke_core::ledger::Share;
use stoke_core::names::Resource;
use stoke_core::progress::{Effort, Outcome, RangeRows};
use stoke_core::scan::Range;
use stoke_core::units::{PartitionId, Rank};
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, debug_span};

use super::{Gave, Goer, RowFailure, Verdict};
use crate::catalog::LoaderSpec;
use crate::gate::{ClientPermit, Gate, Waiting};
use crate::job::backoff::after;
use crate::job::entries::Task;
use crate::job::joint::Lacking;
use crate::origin::{Answer, Origin, OriginError, Page, PageRow};
use crate::permit::Stopped;
use crate::trace;
use crate::trouble::Cause;

/// About how many bytes a page should have: where rows are larger, it has fewer of them.
const PAGE_BYTES: usize = 4 << 20;
/// How many failed rows of one range are listed; the others are counted.
const FAILURES_LISTED_MAX: usize = 1000;

/// How far ranges have come that were begun and not read to their end.
pub(in crate::job) type AllBegun = Arc<Mutex<BTreeMap<(PartitionId, Rank), Begun>>>;

/// How far a range has come.
#[derive(Clone, Debug, Default)]
pub(in crate::job) struct Begun {
    /// The last place of whose rows all is known.
    after: Option<String>,
    rows: RangeRows,
    failures: Vec<RowFailure>,
    /// About how many bytes a row has.
    row_bytes: usize,
}

/// The range that a task is.
pub(in crate::job) fn range_of(task: &Task) -> Result<Range, String> {
    serde_json::from_str(&task.argument).map_err(|_| {
        "its argument is no range of a scan: was its loader another one when it was planned?".into()
    })
}

/// What reading a range takes.
struct Scanning<'a> {
    goer: &'a Goer,
    loader: &'a LoaderSpec,
    range: Range,
    origin: &'a Origin,
    gate: &'a Gate,
    permit: ClientPermit,
}

/// Why a range is not read on.
enum Halt {
    /// Not now.
    Stopped,
    Failed(OriginError),
}

impl Goer {
    /// Whether a task is a range of a scan.
    pub(in crate::job) fn scans(&self, task: &Task) -> bool {
        self.loader(task)
            .is_some_and(|loader| loader.scan.is_some())
    }

    /// Reads a range, and writes its rows. Once stopped, it gives nothing; where `ends` ends before it has come to its end, it
    /// gives the range back as missing. `coming` announces it at its origin's gate from before it is first polled.
    pub(in crate::job) async fn scan(
        mut self,
        task: Task,
        ends: CancellationToken,
        coming: Option<Waiting>,
    ) -> Gave {
        // What is not sent yet when it ends is not sent.
        self.leave = ends;
        let mut gave = Gave::default();
        let (Some(loader), range) = (self.loader(&task).cloned(), range_of(&task)) else {
            return gave;
        };
        let range = match range {
            Ok(range) => range,
            Err(reason) => {
                gave.verdicts.push((task, Verdict::Failed(reason)));
                return gave;
            }
        };
        let resource = Resource::Origin(loader.origin.clone());
        let (Some(origin), Some(gate)) = (
            self.shared.origins.get(&loader.origin),
            self.shared.gates.get(&resource),
        ) else {
            let unknown = OriginError::unknown(&resource);
            self.not_loaded(&loader.origin, &unknown, [task], &mut gave);
            return gave;
        };
        let permit = gate.permit(self.job.clone(), self.stop.clone());
        let scanning = Scanning {
            goer: &self,
            loader: &loader,
            range,
            origin,
            gate,
            permit: permit.with_priority(self.priority).impatient(),
        };
        drop(coming);
        let at = (task.partition, task.rank);
        let begun = self.all_begun().remove(&at);
        let mut begun = begun.unwrap_or_else(|| Begun {
            after: scanning.range.after.clone(),
            ..Begun::default()
        });
        let read = scanning.read(&mut begun, &mut gave.effort).await;
        gave.effort.origin_queries = scanning.permit.taken();
        match read {
            Ok(()) => {
                let verdict = Verdict::Read {
                    failures: listed(&task, &begun),
                    rows: begun.rows,
                };
                gave.verdicts.push((task, verdict));
                return gave;
            }
            Err(Halt::Stopped) if self.stop.is_cancelled() => return gave,
            Err(Halt::Stopped) => gave.missing.push(task),
            Err(Halt::Failed(error)) => {
                self.not_loaded(&loader.origin, &error, [task], &mut gave);
            }
        }
        self.all_begun().insert(at, begun);
        gave
    }

    fn all_begun(&self) -> std::sync::MutexGuard<'_, BTreeMap<(PartitionId, Rank), Begun>> {
        self.begun.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Scanning<'_> {
    /// Reads from where it stands to the range's end.
    async fn read(&self, begun: &mut Begun, effort: &mut Effort) -> Result<(), Halt> {
        let mut next = Some(begun.after.clone());
        let mut page = Page::default();
        loop {
            let row_bytes = begun.row_bytes;
            let reading = async {
                match &next {
                    Some(after) => self.page(after.clone(), row_bytes).await.map(Some),
                    None => Ok(None),
                }
            };
            let writing = self.write(std::mem::take(&mut page), begun, effort);
            let (read, written) = tokio::join!(reading, writing);
            written.map_err(|Stopped| Halt::Stopped)?;
            let Some(read) = read? else {
                return Ok(());
            };
            effort.origin_rows += read.rows.len() as u64;
            begun.row_bytes = read.bytes / read.rows.len().max(1);
            let last = read.rows.last().map(|row| row.at.clone());
            next = last.filter(|_| read.more).map(Some);
            page = read;
        }
    }

    /// The next page, behind this place.
    async fn page(&self, after: Option<String>, row_bytes: usize) -> Result<Page, Halt> {
        let rows = self.rows(row_bytes);
        let range = Range {
            after,
            until: self.range.until.clone(),
        };
        let leave = &self.goer.leave;
        // The row that tells whether there are more comes, too.
        let ready = leave.run_until_cancelled(self.permit.ready(u64::from(rows) + 1));
        match ready.await {
            Some(Ok(())) => {}
            Some(Err(_)) | None => return Err(Halt::Stopped),
        }
        let query = debug_span!(target: trace::TARGET, "query", origin = %self.loader.origin, otel.kind = "client");
        let reading = self.origin.page(&self.permit, self.loader, &range, rows);
        let page = reading.instrument(query).await;
        self.permit.answered();
        let page = page.map_err(Halt::Failed)?;
        self.goer
            .shared
            .troubles
            .clear(&self.goer.job, Cause::Origin);
        Ok(page)
    }

    /// How many rows the next page asks for. There are few numbers that it may be, for each is a statement of its own.
    fn rows(&self, row_bytes: usize) -> u32 {
        let wanted = self.loader.scan.as_ref().map_or(1, |scan| scan.rows);
        let share = self
            .gate
            .granted()
            .map_or(Share::ANY_ROWS, |(share, _)| share.rows);
        let fit = u64::try_from(PAGE_BYTES / row_bytes.max(1)).unwrap_or(u64::MAX);
        halved(wanted, share.min(fit))
    }

    /// Writes a page's rows, and counts them; once stopped, none of them.
    async fn write(
        &self,
        page: Page,
        begun: &mut Begun,
        effort: &mut Effort,
    ) -> Result<(), Stopped> {
        let Some(last) = page.rows.last() else {
            return Ok(());
        };
        let last = last.at.clone();
        let mut writing = Writing::new(self.goer, self.loader, &page.rows);
        let write = debug_span!(target: trace::TARGET, "write", caches = self.goer.cache_names(), otel.kind = "client");
        let written = writing.all(effort).instrument(write).await;
        written?;
        begun.after = Some(last);
        begun.rows += writing.rows;
        begun.failures.extend(writing.failures);
        begun.failures.truncate(FAILURES_LISTED_MAX);
        Ok(())
    }
}

/// The largest of `rows`, its half, its quarter and so on that is at most `most`; at least 1.
fn halved(rows: u32, most: u64) -> u32 {
    let mut halved = rows.max(1);
    while u64::from(halved) > most.max(1) {
        halved /= 2;
    }
    halved.max(1)
}

/// The failed rows that are listed; where there are more, one tells of them.
fn listed(task: &Task, begun: &Begun) -> Vec<RowFailure> {
    let mut failures = begun.failures.clone();
    let listed = failures.len() as u64;
    if begun.rows.failed > listed {
        let more = begun.rows.failed - listed;
        failures.push(RowFailure {
            key: task.key.clone(),
            reason: format!("{more} more rows of this range failed, and are not listed"),
        });
    }
    failures
}

/// A page's rows on their way into the cache. A row's task has its place in the page as its rank.
struct Writing<'a> {
    goer: &'a Goer,
    loader: &'a LoaderSpec,
    left: Vec<(Task, Answer)>,
    rows: RangeRows,
    failures: Vec<RowFailure>,
}

impl<'a> Writing<'a> {
    fn new(goer: &'a Goer, loader: &'a LoaderSpec, rows: &[PageRow]) -> Self {
        let index = goer
            .loaders
            .iter()
            .position(|other| other.name == loader.name);
        let index = index.and_then(|n| u32::try_from(n).ok()).unwrap_or(0);
        let mut writing = Self {
            goer,
            loader,
            left: Vec::with_capacity(rows.len()),
            rows: RangeRows::default(),
            failures: Vec::new(),
        };
        for (n, row) in (0..).zip(rows) {
            let key = match &row.key {
                Ok(key) => key.clone(),
                Err(reason) => {
                    let place = format!("{} row {}", loader.name, row.at);
                    writing.fail(Bytes::from(place), reason.clone());
                    continue;
                }
            };
            let answer = match &row.made {
                Ok(made) => Answer::Row(made.clone()),
                Err(reason) => Answer::Failed {
                    reason: reason.clone(),
                },
            };
            let task = Task {
                partition: PartitionId(0),
                band: stoke_core::units::BandId(0),
                rank: Rank(n),
                key,
                loader: index,
                argument: row.at.clone(),
                priority: stoke_core::units::Priority::ONE,
                attempts: 0,
                lacking: Lacking::EVERYWHERE,
            };
            writing.left.push((task, answer));
        }
        writing
    }

    /// Brings all to an outcome; those that fail for a reason that may pass are tried again.
    async fn all(&mut self, effort: &mut Effort) -> Result<(), Stopped> {
        let mut attempts = 0;
        while !self.left.is_empty() {
            attempts += 1;
            let again = self.once(attempts, effort).await?;
            if !again.is_empty() {
                let pause = tokio::time::sleep(after(attempts, rand::random_range(0.0..1.0)));
                let (leave, stop) = (&self.goer.leave, &self.goer.stop);
                let paused = leave.run_until_cancelled(stop.run_until_cancelled(pause));
                paused.await.flatten().ok_or(Stopped)?;
            }
            (self.left).retain(|(task, _)| again.binary_search(&task.rank).is_ok());
        }
        Ok(())
    }

    /// Tries all that are left; gives those that are to be tried again.
    async fn once(&mut self, attempts: u32, effort: &mut Effort) -> Result<Vec<Rank>, Stopped> {
        let gave = self.go().await?;
        if gave.verdicts.len() < self.left.len() {
            return Err(Stopped);
        }
        *effort += gave.effort;
        let mut again = Vec::new();
        for (task, verdict) in gave.verdicts {
            match verdict {
                Verdict::Done(Outcome::Warmed) => self.rows.warmed += 1,
                Verdict::Done(Outcome::Present) => self.rows.present += 1,
                Verdict::Done(_) => self.rows.skipped += 1,
                Verdict::Again(_) if attempts < self.goer.attempts_max => {
                    self.goer.shared.metrics.retried();
                    again.push(task.rank);
                }
                Verdict::Again(reason) | Verdict::Failed(reason) => self.fail(task.key, reason),
                Verdict::Read { .. } => {}
            }
        }
        again.sort_unstable();
        Ok(again)
    }

    /// What one go gives for those that are left. To add, the write itself finds what is there; to give what is there a new time
    /// to live, or to compare it, the cache is asked first.
    async fn go(&self) -> Result<Gave, Stopped> {
        let left = self.left.iter().cloned();
        let mut gave = Gave::default();
        let (tasks, answers): (Vec<Task>, Vec<Answer>) = match self.goer.mode {
            Mode::Add | Mode::Overwrite => left.unzip(),
            Mode::Refresh | Mode::Verify | Mode::VerifyValues => {
                let (tasks, answers): (Vec<Task>, BTreeMap<Rank, Answer>) = left
                    .map(|(task, answer)| (task.clone(), (task.rank, answer)))
                    .unzip();
                gave = self.goer.clone().probe(tasks).await;
                if self.goer.leave.is_cancelled() {
                    // It may not have asked.
                    return Err(Stopped);
                }
                let missing = std::mem::take(&mut gave.missing).into_iter();
                missing
                    .filter_map(|task| {
                        let answer = answers.get(&task.rank)?.clone();
                        Some((task, answer))
                    })
                    .unzip()
            }
        };
        if !tasks.is_empty() {
            let writing = self.goer.write(self.loader, tasks, answers, &mut gave);
            writing.await;
        }
        Ok(gave)
    }

    fn fail(&mut self, key: Bytes, reason: String) {
        self.rows.failed += 1;
        if self.failures.len() < FAILURES_LISTED_MAX {
            self.failures.push(RowFailure { key, reason });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_have_few_sizes_and_at_least_a_row() {
        let of = |most| halved(5000, most);
        assert_eq!(
            [u64::MAX, 5000, 4999, 1000, 3, 0].map(of),
            [5000, 5000, 2500, 625, 2, 1]
        );
        assert_eq!(halved(0, 7), 1);
    }
}
