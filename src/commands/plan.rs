//! `stoke plan export`: what a plan has, as it comes.

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::Context;
use stoke_proto::v1;

use super::status;
use crate::Outcome;
use crate::args::{ExportFormat, PlanArgs, PlanCommand};
use crate::client::{Cluster, jobs, refusal};
use crate::exit::{Exit, Failure, OrExit};
use crate::print::{self, Reader};
use crate::show::entries::{PLAN_COLUMNS, PlanEntry, csv, plan_entries};
use crate::show::job::batch;

/// Exports a plan.
pub async fn plan(args: &PlanArgs) -> Outcome {
    let PlanCommand::Export(args) = &args.command;
    let cluster = Cluster::new(&args.cluster.coordinator)?;
    // The entries name their loaders by number.
    let loaders = loaders_of(&status::get(&cluster, &args.job).await?);
    let request = v1::ExportPlanRequest {
        name: args.job.clone(),
    };
    let exported = cluster.call(|channel| {
        let request = request.clone();
        async move { jobs(channel).export_plan(request).await }
    });
    let mut exported = exported.await?;
    let mut sink = match &args.file {
        None => Sink::Stdout,
        Some(path) => Sink::file(path).or_exit(Exit::Usage)?,
    };
    let mut header = Some(PLAN_COLUMNS.as_slice());
    loop {
        let message = exported
            .message()
            .await
            .map_err(|status| refusal::failure(&status))?;
        let is_last = message.is_none();
        let batch = message
            .and_then(|message| message.entries)
            .unwrap_or_default();
        let entries = plan_entries(&batch, &loaders);
        let text = match args.output {
            ExportFormat::Json => entries.map(|entry| entry.json()).collect::<String>().into(),
            ExportFormat::Csv => {
                let records: Vec<_> = entries.map(|entry: PlanEntry<'_>| entry.fields()).collect();
                csv(header.take(), records)
            }
        };
        if sink.write(&text)? == Reader::Gone {
            return Ok(Exit::Succeeded);
        }
        if is_last {
            sink.finish().or_exit(Exit::Unreachable)?;
            return Ok(Exit::Succeeded);
        }
    }
}

fn loaders_of(job: &v1::Job) -> Vec<String> {
    let batch = job.spec.as_ref().and_then(batch);
    let loaders = batch.map_or(&[][..], |batch| &batch.loaders);
    loaders.iter().map(|loader| loader.name.clone()).collect()
}

/// Where an export goes.
enum Sink {
    Stdout,
    /// A file that has its name only when it is complete; what was begun is removed.
    File {
        path: PathBuf,
        begun: Begun,
        writer: std::io::BufWriter<std::fs::File>,
    },
}

/// A file in the making: gone with this, unless it was made complete.
struct Begun(Option<PathBuf>);

impl Drop for Begun {
    fn drop(&mut self) {
        if let Some(path) = &self.0 {
            // Where it cannot be removed, it is still not taken for the whole.
            let _ = std::fs::remove_file(path);
        }
    }
}

impl Sink {
    fn file(path: &Path) -> anyhow::Result<Self> {
        let mut name = path
            .file_name()
            .context("--file: names no file")?
            .to_owned();
        name.push(format!(".{}.part", std::process::id()));
        let part = path.with_file_name(name);
        let file = std::fs::File::create_new(&part)
            .with_context(|| format!("--file: cannot create {}", part.display()))?;
        Ok(Self::File {
            path: path.to_owned(),
            begun: Begun(Some(part)),
            writer: std::io::BufWriter::new(file),
        })
    }

    fn write(&mut self, bytes: &[u8]) -> Result<Reader, Failure> {
        match self {
            Self::Stdout => print::data(bytes),
            Self::File { path, writer, .. } => writer
                .write_all(bytes)
                .map(|()| Reader::Listens)
                .with_context(|| format!("cannot write {}", path.display()))
                .or_exit(Exit::Unreachable),
        }
    }

    fn finish(self) -> anyhow::Result<()> {
        let Self::File {
            path,
            mut begun,
            mut writer,
        } = self
        else {
            return Ok(());
        };
        let failed = || format!("cannot write {}", path.display());
        writer.flush().with_context(failed)?;
        writer.get_ref().sync_all().with_context(failed)?;
        if let Some(part) = &begun.0 {
            std::fs::rename(part, &path).with_context(failed)?;
        }
        begun.0 = None;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(dir: &Path) -> Vec<String> {
        let entries = std::fs::read_dir(dir).unwrap();
        entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect()
    }

    #[test]
    fn a_file_has_its_name_only_when_it_is_complete() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("plan.csv");
        let mut sink = Sink::file(&path).unwrap();
        sink.write(b"half").unwrap();
        assert!(!path.exists());
        drop(sink);
        assert_eq!(files(dir.path()), Vec::<String>::new());

        let mut sink = Sink::file(&path).unwrap();
        sink.write(b"whole").unwrap();
        sink.finish().unwrap();
        assert_eq!(files(dir.path()), ["plan.csv"]);
        assert_eq!(std::fs::read(&path).unwrap(), b"whole");
    }
}
