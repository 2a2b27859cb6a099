use std::path::Path;
use std::time::Duration;

use proptest::prelude::*;
use stoke_core::plan::Entry;
use stoke_core::units::Priority;

use super::*;
use crate::metrics;

fn ranking(memory_bytes: usize, folder: &Path) -> Ranking {
    let settings = RankingSettings {
        memory_bytes,
        spill_dir: folder.to_owned(),
    };
    Ranking::start(&settings, Arc::new(Metrics::new(&metrics::none()))).unwrap()
}

const LOADERS: Loaders = Loaders {
    count: 3,
    default: 1,
};

type Sources = Vec<(Merge, Vec<EntryBatch>)>;

async fn ranked(ranking: &Ranking, sources: Sources) -> Vec<Entry> {
    let mut collected = Vec::new();
    for (n, (merge, batches)) in (0..).zip(sources) {
        let mut rows = ranking.collect(n, merge, LOADERS);
        for batch in batches {
            rows = rows.add(&batch).await.unwrap();
        }
        collected.push(rows.complete().await.unwrap());
    }
    let ranked = ranking.rank(collected).await.unwrap();
    tokio::task::spawn_blocking(|| ranked.map(Result::unwrap).collect())
        .await
        .unwrap()
}

fn batches() -> impl Strategy<Value = Vec<EntryBatch>> {
    let priority = prop_oneof![0u64..3, 0..=Priority::REQUESTS_MAX * 1000];
    let row = (0u32..2000, priority, 0u32..3, "[a-z]{0,40}");
    let columns = |rows: Vec<(u32, u64, u32, String)>| {
        let mut batch = EntryBatch::default();
        for (key, priority, loader, argument) in rows {
            batch.keys.push(format!("product:{key}").into());
            batch.priorities.push(priority);
            batch.loaders.push(loader);
            batch.arguments.push(argument);
        }
        batch
    };
    let batch = prop::collection::vec(row, 0..300).prop_map(columns);
    prop::collection::vec(batch, 0..8)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    /// Through real files, with memory for some batches or for none.
    #[test]
    fn plans_that_are_spilled_are_those_that_are_not(
        sources in prop::collection::vec((prop_oneof![Just(Merge::Max), Just(Merge::Sum)], batches()), 1..4),
        memory_bytes in 0usize..200_000,
    ) {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let (little, much) = (ranking(memory_bytes, folder.path()), ranking(1 << 30, folder.path()));
        let spilled = runtime.block_on(ranked(&little, sources.clone()));
        prop_assert_eq!(spilled, runtime.block_on(ranked(&much, sources)));
        prop_assert_eq!(little.memory.held(), 0);
    }
}

fn batch(numbers: std::ops::Range<u32>) -> EntryBatch {
    EntryBatch {
        keys: numbers
            .clone()
            .map(|n| format!("product:{n}").into())
            .collect(),
        arguments: numbers.map(|n| n.to_string()).collect(),
        ..EntryBatch::default()
    }
}

/// How many files this process has open in a folder, with names or without.
fn open_files(folder: &Path) -> usize {
    let open = std::fs::read_dir("/proc/self/fd").unwrap().flatten();
    let targets = open.filter_map(|file| std::fs::read_link(file.path()).ok());
    targets.filter(|target| target.starts_with(folder)).count()
}

#[tokio::test]
async fn what_is_given_up_leaves_neither_files_nor_memory_behind() {
    let folder = tempfile::tempdir().unwrap();
    let ranking = ranking(100_000, folder.path());
    let mut rows = ranking.collect(0, Merge::Max, LOADERS);
    for n in 0..20 {
        rows = rows.add(&batch(n * 500..(n + 1) * 500)).await.unwrap();
    }
    assert_eq!(open_files(folder.path()), 1);
    assert!(
        ranking.memory.held() <= 100_000,
        "{}",
        ranking.memory.held()
    );
    let rows = rows.complete().await.unwrap();
    assert_eq!(
        ranking.memory.held(),
        0,
        "what is spilled as a whole waits on disk"
    );
    drop(rows);
    let gone = async {
        // Files are closed beside.
        while open_files(folder.path()) > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), gone)
        .await
        .unwrap();
    assert_eq!(ranking.memory.held(), 0);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn small_plans_never_touch_the_disk() {
    let folder = tempfile::tempdir().unwrap();
    let ranking = ranking(1 << 20, folder.path());
    // From here on nothing can be spilled.
    let gone = folder.path().to_owned();
    drop(folder);
    assert!(!gone.exists());
    let plan = ranked(
        &ranking,
        vec![(Merge::Max, vec![batch(0..1000), batch(500..2000)])],
    )
    .await;
    assert_eq!(plan.len(), 2000);
}

#[tokio::test]
async fn where_nothing_can_be_spilled_it_is_told_and_may_pass() {
    let folder = tempfile::tempdir().unwrap();
    let ranking = ranking(50_000, folder.path());
    drop(folder);
    let mut rows = ranking.collect(0, Merge::Max, LOADERS);
    let error = loop {
        match rows.add(&batch(0..500)).await {
            Ok(more) => rows = more,
            Err(error) => break error,
        }
    };
    assert!(error.is_transient());
    assert!(error.to_string().contains("spill-dir"), "{error}");
}

#[tokio::test]
async fn plans_that_were_spilled_wait_for_their_turn_and_small_ones_do_not() {
    let folder = tempfile::tempdir().unwrap();
    let ranking = ranking(50_000, folder.path());
    let collected = async |batches: u32| {
        let mut rows = ranking.collect(0, Merge::Max, LOADERS);
        for n in 0..batches {
            rows = rows.add(&batch(n * 300..(n + 1) * 300)).await.unwrap();
        }
        vec![rows.complete().await.unwrap()]
    };
    let large = collected(20).await;
    let turns = (ranking.turn(&large).await, ranking.turn(&large).await);
    assert!(turns.0.is_some() && turns.1.is_some());
    let small = collected(1).await;
    assert!(ranking.turn(&small).await.is_none(), "it needs none");
    assert!(futures::poll!(Box::pin(ranking.turn(&large))).is_pending());
    drop(turns);
    assert!(ranking.turn(&large).await.is_some());
}
