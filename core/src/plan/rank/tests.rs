use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use proptest::prelude::*;

use super::*;

/// Spills into memory, and counts; a row more than it may hold must be spilled.
#[derive(Debug, Default)]
struct Disk {
    may_hold: usize,
    run: Vec<Vec<u8>>,
    seen: Rc<RefCell<Seen>>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    runs: usize,
    held_max: usize,
    /// After so many more blocks it is full.
    blocks_free: Option<usize>,
}

#[derive(Debug, PartialEq, Eq)]
struct Full;

struct Stored(std::vec::IntoIter<Vec<u8>>);

impl Blocks for Stored {
    type Error = Full;

    fn next_block(&mut self, block: &mut Vec<u8>) -> Result<bool, Full> {
        let next = self.0.next();
        Ok(next.map(|next| *block = next).is_some())
    }
}

impl Spill for Disk {
    type Error = Full;
    type Run = Stored;
    const BLOCK_BYTES: usize = 100;

    fn may_hold(&mut self, bytes: usize) -> bool {
        let may = bytes <= self.may_hold;
        if may {
            self.hold(bytes);
        }
        may
    }

    fn hold(&mut self, bytes: usize) {
        let mut seen = self.seen.borrow_mut();
        seen.held_max = seen.held_max.max(bytes);
    }

    fn begin(&mut self) -> Result<(), Full> {
        self.run.clear();
        Ok(())
    }

    fn block(&mut self, block: &[u8]) -> Result<(), Full> {
        if let Some(free) = &mut self.seen.borrow_mut().blocks_free {
            *free = free.checked_sub(1).ok_or(Full)?;
        }
        self.run.push(block.to_vec());
        Ok(())
    }

    fn end(&mut self) -> Result<Stored, Full> {
        self.seen.borrow_mut().runs += 1;
        Ok(Stored(std::mem::take(&mut self.run).into_iter()))
    }
}

/// Ranks in the plainest way: what the others must come to.
#[derive(Default)]
struct Ranker {
    entries: Vec<Entry>,
    places: HashMap<Box<[u8]>, usize>,
}

impl Ranker {
    fn offer(&mut self, entry: Entry, merge: Merge) {
        if let Some(&place) = self.places.get(&entry.key) {
            let known = &mut self.entries[place];
            match merge {
                Merge::Max if entry.priority > known.priority => *known = entry,
                Merge::Max => {}
                Merge::Sum => known.priority = known.priority.saturating_add(entry.priority),
            }
            return;
        }
        self.places.insert(entry.key.clone(), self.entries.len());
        self.entries.push(entry);
    }

    fn finish(mut self) -> Vec<Entry> {
        self.entries
            .sort_by_key(|entry| std::cmp::Reverse(entry.priority));
        self.entries
    }
}

type Sources = Vec<(Merge, Vec<Entry>)>;

fn plainly(sources: Sources) -> Vec<Entry> {
    let mut ranker = Ranker::default();
    for (merge, entries) in sources {
        entries
            .into_iter()
            .for_each(|entry| ranker.offer(entry, merge));
    }
    ranker.finish()
}

/// The sources' rows, in batches of so many, each source with so much memory; as they are after all were offered.
fn offered(
    sources: Sources,
    may_hold: usize,
    batch: usize,
    seen: &Rc<RefCell<Seen>>,
) -> Vec<SourceRows<Disk>> {
    let disk = || Disk {
        may_hold,
        seen: Rc::clone(seen),
        ..Disk::default()
    };
    let mut all = Vec::new();
    for (n, (merge, entries)) in (0u32..).zip(sources) {
        let mut rows = SourceRows::new(n, merge, disk());
        for batch in entries.chunks(batch) {
            let bytes = batch
                .iter()
                .map(|entry| entry.key.len() + entry.argument.len());
            let bytes = bytes.sum();
            if !rows.make_room(batch.len(), bytes) {
                rows.spill().unwrap();
                assert!(
                    rows.make_room(batch.len(), bytes),
                    "there is room after a spill"
                );
            }
            for entry in batch {
                rows.offer(&entry.key, &entry.argument, entry.loader, entry.priority)
                    .unwrap();
            }
        }
        all.push(rows);
    }
    // In whatever order they came in.
    all.reverse();
    all
}

fn spilled(sources: Sources, may_hold: usize, batch: usize) -> (Vec<Entry>, Seen) {
    let seen = Rc::default();
    let rows = offered(sources, may_hold, batch, &seen);
    let disk = Disk {
        may_hold,
        seen: Rc::clone(&seen),
        ..Disk::default()
    };
    let ranked = Ranked::of(rows, disk).unwrap();
    let entries = ranked.map(Result::unwrap).collect();
    let seen = *seen.borrow();
    (entries, seen)
}

fn entry(key: &str, priority: u64) -> Entry {
    Entry {
        key: key.as_bytes().into(),
        loader: u32::try_from(priority % 1000).unwrap(),
        argument: format!("{key}?{priority}").into(),
        priority: Priority::from_milli(priority),
    }
}

fn ranked(offers: &[(&str, u64)], merge: Merge) -> Vec<(String, u64, u32)> {
    let entries = offers
        .iter()
        .map(|(key, priority)| entry(key, *priority))
        .collect();
    let (ranked, seen) = spilled(vec![(merge, entries)], usize::MAX, 1);
    assert_eq!(seen.runs, 0, "what memory holds is not spilled");
    let text = |key: &[u8]| String::from_utf8(key.to_vec()).unwrap();
    let told = ranked.iter();
    told.map(|e| (text(&e.key), e.priority.as_milli(), e.loader))
        .collect()
}

#[test]
fn the_highest_priority_of_a_key_wins_with_its_loader() {
    let got = ranked(&[("a", 1), ("b", 2), ("a", 3), ("a", 2)], Merge::Max);
    assert_eq!(got, [("a".into(), 3, 3), ("b".into(), 2, 2)]);
}

#[test]
fn priorities_add_up_where_the_source_says_so() {
    let got = ranked(&[("a", 1), ("b", 3), ("a", 3)], Merge::Sum);
    assert_eq!(got, [("a".into(), 4, 1), ("b".into(), 3, 3)]);
}

#[test]
fn equals_keep_the_order_in_which_they_were_offered() {
    let got = ranked(&[("x", 5), ("c", 7), ("a", 5), ("b", 5)], Merge::Max);
    let keys: Vec<&str> = got.iter().map(|(key, _, _)| key.as_str()).collect();
    assert_eq!(keys, ["c", "x", "a", "b"]);
}

#[test]
fn more_different_keys_than_may_be_are_an_error_and_duplicates_are_none() {
    let seen = Rc::default();
    let entries = |keys: u64| (0..20).map(|n| entry(&(n % keys).to_string(), n)).collect();
    let at_most_nine = |keys| {
        let rows = offered(vec![(Merge::Max, entries(keys))], 300, 4, &seen);
        Ranked::at_most(9, rows, Disk::default()).map(Iterator::count)
    };
    assert_eq!(at_most_nine(9).unwrap(), 9);
    assert!(matches!(at_most_nine(10), Err(RankError::TooMany(_))));
}

/// Wherever the disk is full it is an error, and never a plan that lacks entries.
#[test]
fn a_full_disk_is_an_error_at_any_block() {
    let entries: Vec<Entry> = (0..120).map(|n| entry(&format!("k{n}"), n)).collect();
    let mut errors = 0;
    for blocks_free in 0..10_000 {
        let seen = Rc::new(RefCell::new(Seen::default()));
        let rows = offered(vec![(Merge::Max, entries.clone())], 300, 2, &seen);
        seen.borrow_mut().blocks_free = Some(blocks_free);
        let disk = Disk {
            may_hold: 300,
            seen,
            ..Disk::default()
        };
        match Ranked::of(rows, disk) {
            Ok(ranked) => {
                assert_eq!(ranked.map(Result::unwrap).count(), 120);
                assert!(errors > 10, "{errors}");
                return;
            }
            Err(RankError::Spill(Full)) => errors += 1,
            Err(error) => panic!("{error:?}"),
        }
    }
    panic!("it never ends");
}

#[test]
fn what_was_not_spilled_is_an_error() {
    let entries = (0..9).map(|n| entry(&format!("k{n}"), n)).collect();
    let mut rows = offered(vec![(Merge::Max, entries)], 0, 3, &Rc::default());
    let cut = |run: Stored| {
        Stored(
            run.0
                .map(|mut block| {
                    block.pop();
                    block
                })
                .collect::<Vec<_>>()
                .into_iter(),
        )
    };
    rows[0].runs = std::mem::take(&mut rows[0].runs)
        .into_iter()
        .map(cut)
        .collect();
    let damaged = Ranked::of(rows, Disk::default());
    assert!(matches!(
        damaged.map(Iterator::count),
        Err(RankError::Damaged)
    ));
}

fn priorities() -> impl Strategy<Value = u64> {
    const MAX: u64 = Priority::REQUESTS_MAX * 1000;
    prop_oneof![4 => 0u64..4, 2 => any::<u64>(), 1 => Just(0), 1 => Just(MAX), 1 => Just(MAX - 1)]
}

fn sources() -> impl Strategy<Value = Sources> {
    let merge = prop_oneof![Just(Merge::Max), Just(Merge::Sum)];
    let made = (0u32..60, priorities(), 0u32..3, ".{0,3}");
    let entry = made.prop_map(|(key, priority, loader, argument)| Entry {
        // Many of the same, and all lengths.
        key: format!(
            "{{{}}}:{key}",
            "x".repeat(usize::try_from(key % 7).unwrap())
        )
        .into_bytes()
        .into(),
        loader,
        argument: argument.into(),
        priority: Priority::from_milli(priority),
    });
    prop::collection::vec((merge, prop::collection::vec(entry, 0..150)), 0..5)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    /// From a row a run, with more runs than are merged at once, to all in memory.
    #[test]
    fn what_is_spilled_is_ranked_as_what_is_not(sources in sources(), may_hold in 0usize..4000, batch in 1usize..20) {
        let plain = plainly(sources.clone());
        let (ranked, seen) = spilled(sources, may_hold, batch);
        prop_assert_eq!(ranked, plain);
        // A batch must be somewhere; beyond it, no more is held than may be.
        let batch_max = batch * 200;
        prop_assert!(seen.held_max <= may_hold.max(batch_max), "{} held", seen.held_max);
    }
}
