//! Who gives entries waits for the coordinator, and the coordinator waits for who takes them: what is between is bounded.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    ObjectStoreExt, PutMultipartOptions, PutOptions, PutPayload, PutResult,
};
use prost::Message;
use stoke_coordinator::Settings;
use stoke_coordinator::plan_store::PlanStore;
use stoke_coordinator::ranking::RankingSettings;
use stoke_core::records::{Job, keys};
use stoke_proto::v1::send_source_request::Part;
use stoke_proto::v1::worker_service_client::WorkerServiceClient;
use stoke_proto::v1::{self, JobState};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;

use super::cluster::{Cluster, batch, job_name, named, settings, spec};
use super::sources::{read_to_its_end, source, until_given};

/// How often it is looked whether a count still grows.
const LOOK_EVERY: Duration = Duration::from_millis(25);
/// After so many looks that showed no growth nothing more is expected: a second.
const STILL_AFTER: usize = 40;

/// What a count comes to that does not grow any more. (Where it only pauses, less is seen than there is: a test may miss a
/// fault then, but finds none that is not there.)
async fn once_still(count: &AtomicUsize) -> usize {
    let (mut last, mut still) = (usize::MAX, 0);
    while still < STILL_AFTER {
        tokio::time::sleep(LOOK_EVERY).await;
        let now = count.load(Ordering::Relaxed);
        still = if now == last { still + 1 } else { 0 };
        last = now;
    }
    last
}

/// A plan store in memory that counts the bands which are read.
#[derive(Debug, Default)]
struct Counted {
    objects: InMemory,
    bands_read: Arc<AtomicUsize>,
}

impl std::fmt::Display for Counted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.objects.fmt(f)
    }
}

type Answer<T> = object_store::Result<T>;

#[async_trait]
impl ObjectStore for Counted {
    async fn put_opts(&self, to: &Path, bytes: PutPayload, how: PutOptions) -> Answer<PutResult> {
        self.objects.put_opts(to, bytes, how).await
    }

    async fn put_multipart_opts(
        &self,
        to: &Path,
        how: PutMultipartOptions,
    ) -> Answer<Box<dyn MultipartUpload>> {
        self.objects.put_multipart_opts(to, how).await
    }

    async fn get_opts(&self, from: &Path, how: GetOptions) -> Answer<GetResult> {
        self.objects.get_opts(from, how).await
    }

    async fn get_ranges(&self, from: &Path, ranges: &[Range<u64>]) -> Answer<Vec<Bytes>> {
        self.bands_read.fetch_add(1, Ordering::Relaxed);
        self.objects.get_ranges(from, ranges).await
    }

    fn delete_stream(
        &self,
        paths: BoxStream<'static, Answer<Path>>,
    ) -> BoxStream<'static, Answer<Path>> {
        self.objects.delete_stream(paths)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Answer<ObjectMeta>> {
        self.objects.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Answer<ListResult> {
        self.objects.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, how: CopyOptions) -> Answer<()> {
        self.objects.copy_opts(from, to, how).await
    }
}

/// A connection on which little is on its way, whoever reads of it.
async fn narrow(address: &str) -> WorkerServiceClient<Channel> {
    let endpoint = Channel::from_shared(address.to_owned()).unwrap();
    let endpoint = endpoint.initial_stream_window_size(65_535);
    let endpoint = endpoint.initial_connection_window_size(65_535);
    WorkerServiceClient::new(endpoint.connect().await.unwrap())
}

/// How many bytes of entries a band has here: a message's.
const BAND_BYTES: usize = 1 << 20;

/// A band with one segment, as it is stored.
fn band(n: u32) -> Vec<u8> {
    let segment = v1::Segment {
        partition: 0,
        entries: 1,
        encoding: v1::Encoding::Plain.into(),
        body: vec![7; BAND_BYTES].into(),
    }
    .encode_to_vec();
    let place = v1::SegmentPlace {
        partition: 0,
        offset: 0,
        length: segment.len() as u64,
        entries: 1,
    };
    let index = v1::BandIndex {
        format: 1,
        band: n,
        places: vec![place],
    }
    .encode_to_vec();
    let length = u32::try_from(index.len()).unwrap().to_le_bytes();
    [&length[..], &index, &segment].concat()
}

#[tokio::test]
async fn a_worker_that_does_not_read_is_waited_for_with_a_few_bands_in_memory() {
    const BANDS: u32 = 60;
    let objects = Arc::new(Counted::default());
    let cluster = Cluster {
        plans: PlanStore::new(Arc::clone(&objects) as Arc<dyn ObjectStore>),
        ..Cluster::new()
    };
    cluster.join("w1").await;
    let leader = cluster.start(settings("c1")).await.unwrap();
    leader.until_it_leads().await;
    let job = leader.running(&cluster, 10).await.name;
    // In place of its plan, one of many bands.
    let key = keys::job(&job_name(&job));
    let (mut record, _) = cluster.read::<Job>(&key).await.unwrap();
    let plan = record.plan.as_mut().unwrap();
    (plan.name, plan.bands) = (format!("plans/{job}/9-9"), BANDS);
    let name = plan.name.clone();
    for n in 0..BANDS {
        let path = Path::from(format!("{name}/band-{n:06}"));
        objects.objects.put(&path, band(n).into()).await.unwrap();
    }
    cluster.put(&key, &record).await;

    let request = v1::StreamEntriesRequest {
        job,
        plan: name,
        partitions: vec![v1::PartitionStart {
            partition: 0,
            band: 0,
        }],
    };
    let mut worker = narrow(&leader.address).await;
    let mut stream = worker.stream_entries(request).await.unwrap().into_inner();
    let read = once_still(&objects.bands_read).await;
    assert!(
        (1..=10).contains(&read),
        "{read} bands were read for nobody"
    );
    for n in 0..BANDS {
        assert_eq!(stream.message().await.unwrap().unwrap().band, n);
    }
    assert!(stream.message().await.unwrap().is_none());
    assert_eq!(objects.bands_read.load(Ordering::Relaxed), 60);
}

/// The only thread for what blocks is busy elsewhere: as on a disk that takes long.
#[test]
fn a_source_is_read_no_faster_than_what_it_gives_can_be_spilled() {
    const BATCHES: usize = 60;
    const ROWS_PER_BATCH: usize = 500;
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = runtime
        .worker_threads(2)
        .max_blocking_threads(1)
        .enable_all();
    runtime.build().unwrap().block_on(async {
        let folder = tempfile::tempdir().unwrap();
        let ranking = RankingSettings {
            memory_bytes: 2_000_000,
            spill_dir: folder.path().to_owned(),
        };
        let little = Settings {
            ranking,
            ..settings("c1")
        };
        let (cluster, leader) = Cluster::led_with(little).await;
        let job = leader.create(spec(vec![named()])).await.unwrap().name;
        until_given(&cluster, &leader, &job, 0, 1).await;
        let (unplug, plug) = std::sync::mpsc::channel::<()>();
        tokio::task::spawn_blocking(move || plug.recv());

        let (parts, receive) = mpsc::channel(1);
        let mut worker = narrow(&leader.address).await;
        let reading =
            tokio::spawn(async move { worker.send_source(ReceiverStream::new(receive)).await });
        let sent = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&sent);
        let header = source(&job, 0, 1);
        let sending = tokio::spawn(async move {
            let part = |part| v1::SendSourceRequest { part: Some(part) };
            parts.send(part(header)).await.unwrap();
            for n in 0..BATCHES {
                let mut rows = batch(n * ROWS_PER_BATCH..(n + 1) * ROWS_PER_BATCH);
                // Few rows, and many bytes.
                let long = |argument: &mut String| argument.push_str(&"x".repeat(1000));
                rows.arguments.iter_mut().for_each(long);
                parts.send(part(Part::Entries(rows))).await.unwrap();
                counted.fetch_add(1, Ordering::Relaxed);
            }
            parts.send(part(read_to_its_end())).await.unwrap();
        });
        let held = once_still(&sent).await;
        assert!(
            (1..=15).contains(&held),
            "{held} batches came while none could be kept"
        );
        drop(unplug);
        sending.await.unwrap();
        reading.await.unwrap().unwrap();
        let running = leader.until_it_is(&job, JobState::Running).await;
        assert_eq!(running.progress.unwrap().planned, 30_000);
    });
}
