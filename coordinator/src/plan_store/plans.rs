//! Storing plans: ranked entries come one after another, and go to the store band by band.

use object_store::path::Path;
use stoke_core::estimate::{Curve, Mix, Popularity, Worth};
use stoke_core::names::JobName;
use stoke_core::plan::{Band, Entry, PlanSummary};
use stoke_core::slot::{Partitioning, Slot, Slots};
use stoke_core::units::{BandId, Epoch};
use tokio::sync::mpsc;

use super::{PlanStore, PlanStoreError, band_file};

/// How many bands that are ready wait while one is being stored.
const BANDS_AHEAD: usize = 1;

/// Why a plan was not stored.
#[derive(Debug, thiserror::Error)]
pub enum WriteError<E> {
    /// The entries did not come to their end.
    #[error(transparent)]
    Entries(E),
    /// The plan store failed, or does not take this plan.
    #[error(transparent)]
    PlanStore(#[from] PlanStoreError),
    /// This process ends.
    #[error("cutting the plan into bands was cut off")]
    CutOff(#[from] tokio::task::JoinError),
}

/// What a plan comes to.
#[derive(Debug, Default)]
struct Totals {
    entries: u64,
    priority_milli: u64,
    mix: Mix,
    bands: u32,
    left_out: u64,
    curve: Curve,
}

impl Totals {
    fn add(&mut self, entry: &Entry) -> Result<(), PlanStoreError> {
        let sum = self.priority_milli.checked_add(entry.priority.as_milli());
        self.priority_milli = sum.ok_or(PlanStoreError::TooMuchPriority)?;
        self.entries += 1;
        self.curve.push(entry.priority.as_milli());
        let loader = usize::try_from(entry.loader).unwrap_or(usize::MAX);
        self.mix.push(loader);
        Ok(())
    }
}

impl PlanStore {
    /// Stores those ranked entries that are within these slots (all where there are none) as a plan, under a name with the epoch and the attempt: it counts only once a fenced write
    /// names it. Few bands are in memory at a time; the entries wait for the store. Dropped, it takes no more of them.
    ///
    /// # Errors
    /// Where the store fails, an entry is an error, or the priorities add up to too much.
    pub async fn write_plan<I, E>(
        &self,
        job: &JobName,
        epoch: Epoch,
        attempt: u64,
        ranked: I,
        partitioning: Partitioning,
        within: Slots,
    ) -> Result<PlanSummary, WriteError<E>>
    where
        I: Iterator<Item = Result<Entry, E>> + Send + 'static,
        E: Send + 'static,
    {
        let name = format!("plans/{job}/{epoch}-{attempt}");
        let (ready, mut bands) = mpsc::channel(BANDS_AHEAD);
        let cutting =
            tokio::task::spawn_blocking(move || cut(ranked, partitioning, &within, &ready));
        while let Some((band, bytes)) = bands.recv().await {
            let path = Path::from(band_file::name(&name, band));
            self.put(path, bytes, "storing a band").await?;
        }
        let totals = cutting.await??;
        Ok(PlanSummary {
            name,
            entries: totals.entries,
            priority_milli: totals.priority_milli,
            bands: totals.bands,
            partitioning,
            entries_by_loader: totals.mix.all().to_vec(),
            left_out: totals.left_out,
            cut: 0,
            worth: Popularity::of(&totals.curve, None)
                .map(|popularity| Worth::of(&popularity, &totals.mix)),
        })
    }
}

/// Cuts entries into bands, each as it is stored, until there are no more or nobody takes them.
fn cut<E>(
    mut ranked: impl Iterator<Item = Result<Entry, E>>,
    partitioning: Partitioning,
    within: &Slots,
    ready: &mpsc::Sender<(BandId, Vec<u8>)>,
) -> Result<Totals, WriteError<E>> {
    let full = usize::try_from(BandId::RANKS).unwrap_or(usize::MAX);
    let mut totals = Totals::default();
    loop {
        let mut entries = Vec::new();
        while entries.len() < full
            && let Some(entry) = ranked.next()
        {
            let entry = entry.map_err(WriteError::Entries)?;
            if !within.is_empty() && !within.contains(Slot::of(&entry.key)) {
                totals.left_out += 1;
                continue;
            }
            totals.add(&entry)?;
            entries.push(entry);
        }
        if entries.is_empty() {
            return Ok(totals);
        }
        let id = BandId(totals.bands);
        totals.bands += 1;
        let bytes = band_file::write(&Band::of(id, entries, partitioning));
        if ready.blocking_send((id, bytes)).is_err() {
            // Whoever stores them has failed, or is not there any more, and says so.
            return Ok(totals);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use stoke_core::units::Priority;

    fn entry(n: u64, milli: u64) -> Entry {
        Entry {
            key: n.to_string().into_bytes().into(),
            loader: u32::try_from(n % 3).unwrap(),
            argument: "".into(),
            priority: Priority::from_milli(milli),
        }
    }

    async fn stored<E: Send + 'static>(
        ranked: impl Iterator<Item = Result<Entry, E>> + Send + 'static,
    ) -> Result<PlanSummary, WriteError<E>> {
        let partitioning = Partitioning::new(256).unwrap();
        let (store, job) = (PlanStore::in_memory(), "j".parse().unwrap());
        let storing = store.write_plan(&job, Epoch(1), 1, ranked, partitioning, Slots::default());
        storing.await
    }

    #[tokio::test]
    async fn a_plan_of_one_more_than_a_band_has_two() {
        let ranked = (0..=BandId::RANKS).map(|n| Ok::<_, ()>(entry(n, 1)));
        let plan = stored(ranked).await.unwrap();
        assert_eq!((plan.bands, plan.entries), (2, 131_073));
        assert_eq!(plan.priority_milli, 131_073);
        assert_eq!(plan.entries_by_loader, [43_691; 3]);
        let none = stored(std::iter::empty::<Result<Entry, ()>>());
        assert_eq!(none.await.unwrap().bands, 0);
    }

    #[tokio::test]
    async fn what_is_not_within_the_slots_is_left_out_and_counted_and_the_rest_moves_up() {
        let partitioning = Partitioning::new(256).unwrap();
        let (store, job) = (PlanStore::in_memory(), "j".parse().unwrap());
        let within: Slots = [Slot(0)..=Slot(5460)].into_iter().collect();
        let count = 3 * BandId::RANKS;
        let inside = (0..count).filter(|n| within.contains(Slot::of(n.to_string().as_bytes())));
        let inside = inside.count() as u64;
        let ranked = (0..count).map(|n| Ok::<_, ()>(entry(n, 1)));
        let storing = store.write_plan(&job, Epoch(1), 1, ranked, partitioning, within);
        let plan = storing.await.unwrap();
        assert_eq!((plan.entries, plan.left_out), (inside, count - inside));
        // About a third: two bands at most, of which the first is full.
        assert_eq!(u64::from(plan.bands), inside.div_ceil(BandId::RANKS));
        assert_eq!(plan.priority_milli, inside);
    }

    #[tokio::test]
    async fn entries_that_do_not_come_to_their_end_are_no_plan() {
        let ranked = (0..10).map(|n| {
            if n < 7 {
                Ok(entry(n, 1))
            } else {
                Err("the disk")
            }
        });
        let failed = stored(ranked).await;
        assert!(matches!(failed, Err(WriteError::Entries("the disk"))));
    }

    #[tokio::test]
    async fn priorities_that_add_up_to_more_than_can_be_counted_are_an_error() {
        let most = Priority::REQUESTS_MAX * 1000;
        let ranked = (0..u64::MAX / most + 2).map(move |n| Ok::<_, ()>(entry(n, most)));
        let failed = stored(ranked).await;
        let is_told = |error: &WriteError<()>| {
            matches!(
                error,
                WriteError::PlanStore(PlanStoreError::TooMuchPriority)
            )
        };
        assert!(failed.as_ref().is_err_and(is_told), "{failed:?}");
    }
}
