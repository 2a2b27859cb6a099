//! What the plan store has, and how it is removed. What of it may go, `retention` decides.

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use futures::StreamExt;
use futures::stream::{self, BoxStream};
use object_store::path::Path;
use object_store::{ObjectMeta, ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload};
use stoke_core::names::JobName;

use super::{PlanStore, PlanStoreError, failed};

/// What all objects of jobs begin with.
const KINDS: [&str; 3] = ["plans", "uploads", "failures"];
/// The object that says whose plan store this is.
const CLUSTER: &str = "cluster";
/// How many half-written files of a directory are looked at in one go.
const HALVES_MAX: usize = 10_000;
/// How deep they lie: `KIND/JOB/OWN/FILE`.
const HALVES_DEPTH: usize = 4;

/// An object that is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Stored {
    /// Its name.
    pub(crate) name: String,
    /// Its size.
    pub(crate) bytes: u64,
    /// When it was last written, by the store's clock: milliseconds since 1970.
    pub(crate) modified_ms: u64,
    /// Where it is half an object only, in a directory: the file. Nobody lists it.
    half: Option<PathBuf>,
}

/// What was removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Removed {
    /// How many objects.
    pub(crate) objects: u64,
    /// Their size.
    pub(crate) bytes: u64,
}

impl std::ops::AddAssign for Removed {
    fn add_assign(&mut self, more: Self) {
        self.objects += more.objects;
        self.bytes += more.bytes;
    }
}

impl Removed {
    fn of(objects: &[Stored]) -> Self {
        Self {
            objects: objects.len() as u64,
            bytes: objects.iter().map(|object| object.bytes).sum(),
        }
    }
}

impl PlanStore {
    /// All objects of jobs, in no order; there may be any number.
    pub(crate) fn objects(&self) -> BoxStream<'static, Result<Stored, PlanStoreError>> {
        let lists = KINDS.map(|kind| self.below(kind.to_owned()));
        let halves = stream::once(halves(self.directory.clone()));
        let halves = halves.flat_map(|found| match found {
            Ok(found) => stream::iter(found).map(Ok).left_stream(),
            Err(error) => stream::iter([Err(error)]).right_stream(),
        });
        stream::iter(lists).flatten().chain(halves).boxed()
    }

    /// A job's objects: of a plan some for each ten million entries, and lists of failures.
    pub(crate) async fn objects_of(&self, job: &JobName) -> Result<Removed, PlanStoreError> {
        Ok(Removed::of(&self.list_job(job).await?))
    }

    /// Removes a job's objects.
    pub(crate) async fn remove_job(&self, job: &JobName) -> Result<Removed, PlanStoreError> {
        let objects = self.list_job(job).await?;
        self.remove(objects).await
    }

    async fn list_job(&self, job: &JobName) -> Result<Vec<Stored>, PlanStoreError> {
        let mut objects = Vec::new();
        for kind in KINDS {
            let mut list = self.below(format!("{kind}/{job}"));
            while let Some(object) = list.next().await {
                objects.push(object?);
            }
        }
        Ok(objects)
    }

    fn below(&self, prefix: String) -> BoxStream<'static, Result<Stored, PlanStoreError>> {
        let list = self.objects.list(Some(&Path::from(prefix)));
        list.map(|object| object.map(stored).map_err(failed("listing what it has")))
            .boxed()
    }

    /// Removes objects; no error where one is gone already.
    pub(crate) async fn remove(&self, objects: Vec<Stored>) -> Result<Removed, PlanStoreError> {
        let removed = Removed::of(&objects);
        let (halves, whole): (Vec<_>, Vec<_>) = objects
            .into_iter()
            .partition(|object| object.half.is_some());
        let names = whole.into_iter().map(|object| Ok(Path::from(object.name)));
        let deleting = async {
            let mut deleted = self.objects.delete_stream(stream::iter(names).boxed());
            while let Some(deleted) = deleted.next().await {
                match deleted {
                    Ok(_) | Err(object_store::Error::NotFound { .. }) => {}
                    Err(error) => return Err(error),
                }
            }
            Ok(())
        };
        let deleted = self.timed("delete", deleting).await;
        deleted.map_err(failed("removing what is kept no longer"))?;
        for file in halves.into_iter().filter_map(|object| object.half) {
            remove_half(file).await?;
        }
        self.metrics.plan_store_removed(removed.bytes);
        Ok(removed)
    }

    /// Makes the store this cluster's where it is nobody's, and says whether it is this cluster's.
    pub(crate) async fn belongs_to(&self, cluster: &str) -> Result<bool, PlanStoreError> {
        const DOING: &str = "looking whose it is";
        let path = Path::from(CLUSTER);
        let create = PutOptions::from(PutMode::Create);
        let payload = PutPayload::from(cluster.to_owned());
        match self.objects.put_opts(&path, payload, create).await {
            Ok(_) => return Ok(true),
            Err(object_store::Error::AlreadyExists { .. }) => {}
            Err(error) => return Err(failed(DOING)(error)),
        }
        let found = self.objects.get(&path).await.map_err(failed(DOING))?;
        Ok(found.bytes().await.map_err(failed(DOING))? == cluster.as_bytes())
    }
}

fn stored(object: ObjectMeta) -> Stored {
    Stored {
        name: object.location.to_string(),
        bytes: object.size,
        modified_ms: u64::try_from(object.last_modified.timestamp_millis()).unwrap_or(0),
        half: None,
    }
}

/// Files of a directory that somebody was writing who was killed, or is: `NAME#N`, as `object_store` calls them until they are
/// complete. It never lists them.
async fn halves(directory: Option<PathBuf>) -> Result<Vec<Stored>, PlanStoreError> {
    let Some(directory) = directory else {
        return Ok(Vec::new());
    };
    let looking = tokio::task::spawn_blocking(move || {
        let mut found = Vec::new();
        let mut open: Vec<(PathBuf, String)> = KINDS
            .iter()
            .map(|kind| (directory.join(kind), (*kind).to_owned()))
            .collect();
        while let Some((folder, name)) = open.pop() {
            // What has gone meanwhile is no fault.
            let Ok(entries) = std::fs::read_dir(&folder) else {
                continue;
            };
            for entry in entries.flatten() {
                let Ok(own) = entry.file_name().into_string() else {
                    continue;
                };
                let (Ok(about), name) = (entry.metadata(), format!("{name}/{own}")) else {
                    continue;
                };
                if about.is_dir() && name.matches('/').count() < HALVES_DEPTH - 1 {
                    open.push((entry.path(), name));
                } else if let Some(half) = half(&name, &about, entry.path()) {
                    found.push(half);
                }
                if found.len() == HALVES_MAX {
                    return found;
                }
            }
        }
        found
    });
    Ok(looking.await.unwrap_or_default())
}

fn half(name: &str, about: &std::fs::Metadata, file: PathBuf) -> Option<Stored> {
    let (whole, number) = name.rsplit_once('#')?;
    number.parse::<u64>().ok().filter(|_| about.is_file())?;
    let since = about
        .modified()
        .ok()?
        .duration_since(SystemTime::UNIX_EPOCH);
    Some(Stored {
        name: whole.to_owned(),
        bytes: about.len(),
        modified_ms: u64::try_from(since.unwrap_or(Duration::ZERO).as_millis()).unwrap_or(0),
        half: Some(file),
    })
}

/// Removes a file, and the folders that are empty then, up to that of its kind.
async fn remove_half(file: PathBuf) -> Result<(), PlanStoreError> {
    let removing = tokio::task::spawn_blocking(move || match std::fs::remove_file(&file) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
        _ => {
            // One that is not empty stays.
            let folders = file.ancestors().skip(1).take(HALVES_DEPTH - 2);
            let _ = folders
                .map(std::fs::remove_dir)
                .take_while(Result::is_ok)
                .count();
            Ok(())
        }
    });
    match removing.await {
        Ok(Err(source)) => Err(PlanStoreError::Object {
            doing: "removing a file that was never completed",
            source: object_store::Error::Generic {
                store: "directory",
                source: Box::new(source),
            },
        }),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn names(plans: &PlanStore) -> Vec<String> {
        let mut names: Vec<String> = plans.objects().map(|o| o.unwrap().name).collect().await;
        names.sort_unstable();
        names
    }

    async fn put(plans: &PlanStore, name: &str) {
        let payload = PutPayload::from_static(b"12345");
        plans.objects.put(&Path::from(name), payload).await.unwrap();
    }

    async fn lists_and_removes(plans: PlanStore) {
        for name in [
            "plans/j1/2-1/band-000000",
            "plans/j1/2-1/band-000001",
            "plans/j10/2-1/band-000000",
            "uploads/j1/0-00aa",
            "failures/j1/w.1/00000000",
            "elsewhere/j1/0",
        ] {
            put(&plans, name).await;
        }
        plans.id().await.unwrap();
        let j1 = "j1".parse().unwrap();
        let five = |objects| Removed {
            objects,
            bytes: 5 * objects,
        };
        assert_eq!(names(&plans).await.len(), 5);
        assert_eq!(plans.objects_of(&j1).await.unwrap(), five(4));
        assert_eq!(plans.remove_job(&j1).await.unwrap(), five(4));
        assert_eq!(names(&plans).await, ["plans/j10/2-1/band-000000"]);
        assert_eq!(plans.remove_job(&j1).await.unwrap(), five(0));
        // Gone already, by another's hand.
        let rest: Vec<Stored> = plans.objects().map(Result::unwrap).collect().await;
        plans.remove(rest.clone()).await.unwrap();
        plans.remove(rest).await.unwrap();
        assert!(names(&plans).await.is_empty());
        let elsewhere = plans.objects.get(&Path::from("elsewhere/j1/0")).await;
        assert!(elsewhere.is_ok());
    }

    #[tokio::test]
    async fn in_memory_a_jobs_objects_are_listed_and_removed() {
        lists_and_removes(PlanStore::in_memory()).await;
    }

    #[tokio::test]
    async fn in_a_directory_they_are_and_leave_no_empty_folders() {
        let folder = tempfile::tempdir().unwrap();
        lists_and_removes(PlanStore::in_directory(folder.path()).unwrap()).await;
        let mut left: Vec<_> = std::fs::read_dir(folder.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        left.sort_unstable();
        assert_eq!(left, ["elsewhere", "id"]);
    }

    #[tokio::test]
    async fn files_that_were_never_completed_are_found_by_the_name_they_were_to_have() {
        let folder = tempfile::tempdir().unwrap();
        let plans = PlanStore::in_directory(folder.path()).unwrap();
        put(&plans, "plans/j1/2-1/band-000000").await;
        let band = folder.path().join("plans/j1/2-1/band-000001#1");
        let upload = folder.path().join("uploads/j1/0-00aa#12");
        std::fs::create_dir_all(upload.parent().unwrap()).unwrap();
        for file in [&band, &upload] {
            std::fs::write(file, b"half").unwrap();
        }
        let found: Vec<Stored> = plans.objects().map(Result::unwrap).collect().await;
        let halves: Vec<Stored> = found.into_iter().filter(|o| o.half.is_some()).collect();
        let mut whole: Vec<&str> = halves.iter().map(|half| half.name.as_str()).collect();
        whole.sort_unstable();
        assert_eq!(whole, ["plans/j1/2-1/band-000001", "uploads/j1/0-00aa"]);
        let now = u64::try_from(
            SystemTime::now()
                .duration_since(SystemTime::UNIX_EPOCH)
                .unwrap()
                .as_millis(),
        );
        assert!(
            halves
                .iter()
                .all(|half| half.modified_ms.abs_diff(*now.as_ref().unwrap()) < 600_000)
        );
        plans.remove(halves).await.unwrap();
        assert!(!band.exists() && !upload.parent().unwrap().exists());
        assert_eq!(names(&plans).await, ["plans/j1/2-1/band-000000"]);
    }

    #[tokio::test]
    async fn a_plan_store_belongs_to_the_first_cluster_that_asks() {
        let plans = PlanStore::in_memory();
        assert!(plans.belongs_to("one").await.unwrap());
        assert!(plans.belongs_to("one").await.unwrap());
        assert!(!plans.belongs_to("other").await.unwrap());
    }
}
