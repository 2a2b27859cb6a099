//! Uploads: a key file of this machine, sent in batches, all or nothing.
//!
//! A stream that ends is complete, for the coordinator. So it ends only when that is said: what is given up in the middle
//! never ends, and is cancelled with its connection.
//!
//! A regular file is sent again where sending broke. What a pipe gave is gone by then, and the rest would be taken for the
//! whole: a pipe has one attempt.

use std::path::Path;
use std::pin::pin;

use futures::{Stream, stream};
use stoke_core::explain::explain;
use stoke_core::job::OnBadLine;
use stoke_proto::{LEADER_METADATA, MESSAGE_BYTES_MAX, v1};
use stoke_worker::source::{Rules, SourceRow, file};
use tokio::sync::mpsc;
use tonic::transport::Channel;
use tonic::{Response, Status};

use crate::client::{Cluster, jobs, may_pass};
use crate::exit::Failure;
use crate::job_file::Upload;
use crate::print;
use crate::show::job::batch as batch_of;

/// Optional, beside `key` and `priority`: what the loader's query is asked with. By default the key.
const ARGUMENT_COLUMN: &str = "argument";
/// Optional: the job's loader that loads the entry. By default the source's.
const LOADER_COLUMN: &str = "loader";
/// A batch goes out when its texts have so many bytes.
const BATCH_BYTES: usize = 1 << 20;
/// Or so many entries.
const BATCH_ENTRIES: usize = 10_000;
/// How many batches wait to be sent.
const QUEUED: usize = 2;

// The row that fills a batch has a key and an argument more, each no longer than a line; numbers take the rest.
const _: () =
    assert!(BATCH_BYTES + 2 * file::LINE_BYTES_MAX + 32 * BATCH_ENTRIES < MESSAGE_BYTES_MAX);

/// Uploads a file, and returns how many entries it has.
///
/// # Errors
/// Where the file is wrong, or the coordinator did not take it.
pub async fn upload(cluster: &Cluster, job: &v1::Job, upload: &Upload) -> Result<u64, Failure> {
    let loaders = Loaders::of(job, upload.source);
    let header = v1::UploadHeader {
        job: job.name.clone(),
        source: upload.source,
    };
    let again = is_regular(&upload.file);
    let sent = cluster.call_at_length(|channel| {
        let sent = send(channel, header.clone(), &upload.file, &loaders);
        async move {
            let sent = sent.await;
            if again {
                sent
            } else {
                sent.map_err(|status| final_for_pipes(&upload.file, status))
            }
        }
    });
    Ok(sent.await?.entries)
}

/// Whether the same is read when the path is opened again. What cannot be looked at fails when it is read.
fn is_regular(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|found| found.is_file())
}

/// For what can be read only once: a status that the client would answer with another attempt becomes one that ends it.
fn final_for_pipes(path: &Path, status: Status) -> Status {
    let is_tried_again = may_pass(status.code()) || status.metadata().contains_key(LEADER_METADATA);
    if !is_tried_again {
        return status;
    }
    // Of the codes that are not tried again, one that says that the same may succeed later.
    Status::resource_exhausted(format!(
        "the upload broke: {}; {} is no regular file, so what was read of it is gone and cannot be sent again: write it \
         to a file and upload that, or give all of it once more",
        status.message(),
        path.display()
    ))
}

/// What goes to the stream.
enum Piece {
    Part(v1::upload_entries_request::Part),
    /// That was all.
    End,
}

/// Why sending stopped.
enum Halt {
    /// Whoever took it has gone, and says why.
    NotWanted,
    /// The file is wrong.
    Fault(Status),
}

async fn send(
    channel: Channel,
    header: v1::UploadHeader,
    path: &Path,
    loaders: &Loaders,
) -> Result<Response<v1::UploadEntriesResponse>, Status> {
    let (pieces, receive) = mpsc::channel(QUEUED);
    let mut api = jobs(channel);
    let mut call = pin!(api.upload_entries(parts(receive)));
    tokio::select! {
        biased;
        answer = &mut call => answer,
        fed = feed(header, path, loaders, &pieces) => match fed {
            Ok(()) | Err(Halt::NotWanted) => call.await,
            Err(Halt::Fault(status)) => Err(status),
        }
    }
}

/// The stream of what comes until its end is said. Where it is not, the stream does not end either: half a file must not be
/// taken for the whole.
fn parts(receive: mpsc::Receiver<Piece>) -> impl Stream<Item = v1::UploadEntriesRequest> {
    stream::unfold(receive, |mut receive| async move {
        match receive.recv().await {
            Some(Piece::Part(part)) => {
                Some((v1::UploadEntriesRequest { part: Some(part) }, receive))
            }
            Some(Piece::End) => None,
            None => std::future::pending().await,
        }
    })
}

/// Reads the file to its end, and sends its entries.
async fn feed(
    header: v1::UploadHeader,
    path: &Path,
    loaders: &Loaders,
    pieces: &mpsc::Sender<Piece>,
) -> Result<(), Halt> {
    use v1::upload_entries_request::Part;
    put(pieces, Piece::Part(Part::Header(header))).await?;
    let (rows, mut chunks) = mpsc::channel(QUEUED);
    let batching = async move {
        let mut batch = Batch::default();
        while let Some(chunk) = chunks.recv().await {
            for row in chunk {
                batch.push(&row, loaders).map_err(Halt::Fault)?;
                if batch.is_full() {
                    put(pieces, Piece::Part(Part::Entries(batch.take()))).await?;
                }
            }
        }
        Ok(batch)
    };
    let rules = loaders.rules();
    let (read, batched) = tokio::join!(file::read(path, None, &rules, rows), batching);
    // What stopped the one is why the other stopped.
    let mut batch = batched?;
    let read = read.map_err(|error| Halt::Fault(Status::invalid_argument(explain(&error))))?;
    if read.bad_lines > 0 {
        let (file, count, examples) = (path.display(), read.bad_lines, read.examples.join("; "));
        print::say(format!("{file}: left out {count} bad lines: {examples}"));
    }
    if batch.entries.keys.is_empty() {
        return put(pieces, Piece::End).await;
    }
    put(pieces, Piece::Part(Part::Entries(batch.take()))).await?;
    put(pieces, Piece::End).await
}

async fn put(pieces: &mpsc::Sender<Piece>, piece: Piece) -> Result<(), Halt> {
    pieces.send(piece).await.map_err(|_| Halt::NotWanted)
}

/// The job's loaders, and which one an entry has that names none.
#[derive(Debug)]
struct Loaders {
    names: Vec<String>,
    default: u32,
    on_bad_line: OnBadLine,
}

impl Loaders {
    fn of(job: &v1::Job, source: u32) -> Self {
        let batch = job.spec.as_ref().and_then(batch_of);
        let loaders = batch.map_or(&[][..], |batch| &batch.loaders);
        let names: Vec<String> = loaders.iter().map(|loader| loader.name.clone()).collect();
        let sources = batch.map_or(&[][..], |batch| &batch.sources);
        let of_source = usize::try_from(source).ok().and_then(|n| sources.get(n));
        let default = of_source.and_then(|source| find(&names, &source.loader));
        let skips = of_source.is_some_and(|s| s.on_bad_line() == v1::OnBadLine::Skip);
        Self {
            on_bad_line: if skips {
                OnBadLine::Skip
            } else {
                OnBadLine::Fail
            },
            default: default.unwrap_or(0),
            names,
        }
    }

    /// The file's keys are the cache keys already: there is no template.
    fn rules(&self) -> Rules {
        Rules {
            on_bad_line: self.on_bad_line,
            ..Rules::default()
        }
    }

    fn index(&self, name: Option<&str>) -> Result<u32, Status> {
        match name.filter(|name| !name.is_empty()) {
            None => Ok(self.default),
            Some(name) => find(&self.names, name).ok_or_else(|| {
                Status::invalid_argument(format!(
                    "the column {LOADER_COLUMN} names {name:?}, but the job has only {}",
                    self.names.join(", ")
                ))
            }),
        }
    }
}

fn find(names: &[String], wanted: &str) -> Option<u32> {
    let found = names.iter().position(|name| name == wanted)?;
    u32::try_from(found).ok()
}

/// Entries on their way.
#[derive(Debug, Default)]
struct Batch {
    entries: v1::EntryBatch,
    bytes: usize,
}

impl Batch {
    fn push(&mut self, row: &SourceRow, loaders: &Loaders) -> Result<(), Status> {
        let key = row.key();
        let argument = row.get(ARGUMENT_COLUMN).filter(|text| !text.is_empty());
        let argument = argument.unwrap_or(key);
        self.bytes += key.len() + argument.len();
        self.entries
            .loaders
            .push(loaders.index(row.get(LOADER_COLUMN))?);
        self.entries.keys.push(key.as_bytes().to_vec().into());
        self.entries.arguments.push(argument.to_owned());
        self.entries.priorities.push(row.priority.as_milli());
        Ok(())
    }

    fn is_full(&self) -> bool {
        self.bytes >= BATCH_BYTES || self.entries.keys.len() >= BATCH_ENTRIES
    }

    fn take(&mut self) -> v1::EntryBatch {
        std::mem::take(self).entries
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::{FutureExt, StreamExt};

    fn loaders() -> Loaders {
        Loaders {
            names: vec!["product".into(), "price".into()],
            default: 1,
            on_bad_line: OnBadLine::Fail,
        }
    }

    /// What a file gives: the batches, and whether its end was said.
    async fn sent(text: &str) -> (Vec<v1::EntryBatch>, Result<(), String>) {
        sent_by(text, &loaders()).await
    }

    async fn sent_by(text: &str, loaders: &Loaders) -> (Vec<v1::EntryBatch>, Result<(), String>) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("keys.csv");
        std::fs::write(&path, text).unwrap();
        let (pieces, mut receive) = mpsc::channel(QUEUED);
        let header = v1::UploadHeader::default();
        let feeding = async {
            let fed = feed(header, &path, loaders, &pieces).await;
            drop(pieces);
            fed
        };
        let taking = async {
            let (mut batches, mut ended) = (Vec::new(), false);
            while let Some(piece) = receive.recv().await {
                match piece {
                    Piece::Part(v1::upload_entries_request::Part::Entries(batch)) => {
                        batches.push(batch);
                    }
                    Piece::Part(_) => {}
                    Piece::End => ended = true,
                }
            }
            (batches, ended)
        };
        let (fed, (batches, ended)) = tokio::join!(feeding, taking);
        let fed = fed.map_err(|halt| match halt {
            Halt::NotWanted => "not wanted".to_owned(),
            Halt::Fault(status) => status.message().to_owned(),
        });
        assert_eq!(
            ended,
            fed.is_ok(),
            "an end is said where all is well, and only there"
        );
        (batches, fed)
    }

    #[tokio::test]
    async fn argument_loader_and_priority_are_the_files_or_the_sources() {
        let text = "key,argument,loader,priority\na,1,product,2.5\nb,,,\n";
        let (batches, fed) = sent(text).await;
        assert_eq!(fed, Ok(()));
        let expected = v1::EntryBatch {
            keys: vec![b"a".to_vec().into(), b"b".to_vec().into()],
            arguments: vec!["1".into(), "b".into()],
            loaders: vec![0, 1],
            priorities: vec![2500, 1000],
            ..v1::EntryBatch::default()
        };
        assert_eq!(batches, [expected]);
        let (batches, _) = sent("key\na\n").await;
        assert_eq!(batches[0].arguments, ["a"]);
    }

    #[tokio::test]
    async fn batches_stay_below_the_largest_message() {
        let text: String = (0..25_000).map(|n| format!("{n:0200}\n")).collect();
        let (batches, fed) = sent(&format!("key\n{text}")).await;
        assert_eq!(fed, Ok(()));
        assert!(batches.len() > 2);
        for batch in &batches {
            let texts = batch.keys.iter().map(|key| key.len());
            let texts = texts.chain(batch.arguments.iter().map(String::len));
            assert!(texts.map(|bytes| bytes + 32).sum::<usize>() < MESSAGE_BYTES_MAX);
        }
        let keys: usize = batches.iter().map(|batch| batch.keys.len()).sum();
        assert_eq!(keys, 25_000);
    }

    #[tokio::test]
    async fn a_fault_in_the_middle_is_told_and_no_end() {
        let (_, fed) = sent("key,priority\na,1\nb,much\n").await;
        assert!(fed.clone().unwrap_err().contains("line 3"), "{fed:?}");
        let (_, fed) = sent("key,loader\na,product\nb,prize\n").await;
        let expected = "the column loader names \"prize\", but the job has only product, price";
        assert_eq!(fed, Err(expected.to_owned()));
    }

    #[tokio::test]
    async fn bad_lines_are_left_out_where_the_source_says_so() {
        let skipping = Loaders {
            on_bad_line: OnBadLine::Skip,
            ..loaders()
        };
        let (batches, fed) = sent_by("key,priority\na,1\nb,much\nc,2\n", &skipping).await;
        assert_eq!(fed, Ok(()));
        assert_eq!(batches[0].arguments, ["a", "c"]);
    }

    #[test]
    fn what_can_be_read_only_once_has_one_attempt() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("keys.csv");
        std::fs::write(&file, "key\n").unwrap();
        assert!(is_regular(&file) && !is_regular(Path::new("/dev/null")));
        let mut elsewhere = Status::failed_precondition("c2 leads");
        let leader = "http://c2:7400".parse().unwrap();
        elsewhere.metadata_mut().insert(LEADER_METADATA, leader);
        for broken in [Status::unavailable("broke"), elsewhere] {
            let why = broken.message().to_owned();
            let status = final_for_pipes(Path::new("/dev/stdin"), broken);
            assert!(!may_pass(status.code()), "{status:?}");
            assert!(!status.metadata().contains_key(LEADER_METADATA));
            let said = status.message();
            assert!(said.contains(&why) && said.contains("/dev/stdin is no regular file"));
        }
        let refused = final_for_pipes(Path::new("/dev/stdin"), Status::invalid_argument("no"));
        assert_eq!(refused.message(), "no");
    }

    #[tokio::test]
    async fn a_stream_whose_end_was_not_said_does_not_end() {
        let (pieces, receive) = mpsc::channel(QUEUED);
        let mut given_up = pin!(parts(receive));
        drop(pieces);
        assert!(given_up.next().now_or_never().is_none());
        let (pieces, receive) = mpsc::channel(QUEUED);
        let mut whole = pin!(parts(receive));
        pieces.try_send(Piece::End).ok();
        assert!(whole.next().await.is_none());
    }
}
