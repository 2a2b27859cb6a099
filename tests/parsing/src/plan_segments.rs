//! Bands as they lie in the plan store, and their segments as workers get them.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt, PutPayload};
use prost::Message;
use stoke_coordinator::plan_store::{PlanStore, read_segments, rows};
use stoke_core::units::{BandId, PartitionId, Rank};
use stoke_proto::v1::{Encoding, EntryBatch, Segment};
use stoke_worker::doors;
use tokio::runtime::{Builder, Runtime};

static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
    let runtime = Builder::new_current_thread().build();
    runtime.expect("a runtime without drivers can always be made")
});

/// The first byte says what the rest is: a band's file, a segment, or a batch of entries. Whatever they hold, no more memory
/// is used than a message may have; entries that are read are those that were packed.
///
/// # Panics
/// Where that is not so.
pub fn plan_segments(bytes: &[u8]) {
    match bytes.split_first() {
        Some((b'b', file)) => band_file(file),
        Some((b's', segment)) => {
            if let Ok(segment) = Segment::decode(segment) {
                read_by_worker(vec![segment]);
            }
        }
        Some((b'e', batch)) => {
            if let Ok(batch) = EntryBatch::decode(batch) {
                packed(batch);
            }
        }
        _ => {}
    }
}

fn band_file(file: &[u8]) {
    let objects: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
    let starts: BTreeMap<PartitionId, BandId> = (0..256)
        .map(|partition| (PartitionId(partition), BandId(0)))
        .collect();
    let segments = RUNTIME.block_on(async {
        let payload = PutPayload::from(file.to_vec());
        let put = objects.put(&Path::from("p/band-000000"), payload).await;
        put.expect("memory takes it");
        read_segments(&PlanStore::new(objects), "p", BandId(0), &starts).await
    });
    if let Ok(segments) = segments {
        read_by_worker(segments);
    }
}

fn read_by_worker(segments: Vec<Segment>) {
    let Some(read) = doors::segments(segments) else {
        return;
    };
    assert!(read.is_sorted_by_key(|(rank, ..)| *rank));
    let bytes: usize = read
        .iter()
        .map(|(_, _, key, argument)| key.len() + argument.len())
        .sum();
    assert!(bytes <= 256 * stoke_proto::MESSAGE_BYTES_MAX);
}

/// A batch that a coordinator accepts comes to a worker as it was.
fn packed(mut batch: EntryBatch) {
    batch.ranks = (0..batch.keys.len() as u64).collect();
    let Ok(accepted) = rows(&batch, 3) else {
        return;
    };
    let segment = Segment {
        partition: 7,
        entries: 0,
        encoding: Encoding::Plain.into(),
        body: batch.encode_to_vec().into(),
    };
    let read = doors::segments(vec![segment]).expect("it was accepted");
    let expected = accepted.enumerate().map(|(n, row)| {
        let argument = row.argument.to_owned();
        (Rank(n as u64), PartitionId(7), row.key.to_vec(), argument)
    });
    assert!(read.into_iter().eq(expected));
}
