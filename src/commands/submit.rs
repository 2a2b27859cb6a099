//! `stoke submit`: a job from a job file, with what is uploaded for it.

mod upload;

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::time::SystemTime;

use anyhow::Context;
use stoke_proto::v1;

use super::{print_job, printed, status, watch};
use crate::args::{OutputArg, SubmitArgs};
use crate::client::{Cluster, job_of, jobs, refusal::Refused, unary};
use crate::exit::{Exit, Failure, OrExit};
use crate::job_file::{self, JobFile, Upload};
use crate::show::job::is_over;
use crate::show::style::Palette;
use crate::{Outcome, print};

/// Creates a job, uploads its keys, and prints its name; or follows it to its end.
pub async fn submit(args: &SubmitArgs, palette: Palette) -> Outcome {
    let JobFile { mut spec, uploads } = job_file::read(&args.file).or_exit(Exit::Usage)?;
    apply(args, &mut spec);
    check(args, &uploads).or_exit(Exit::Usage)?;
    let cluster = Cluster::new(&args.output.cluster.coordinator)?;
    let request_id = args.request_id.clone().unwrap_or_else(new_request_id);
    let mut job = create(&cluster, &request_id, spec).await?;
    // A dry run is asked for what it finds.
    let follows = args.watch || args.dry_run;
    if follows || !uploads.is_empty() {
        print::say(format!("job {}", job.name));
    }
    if !uploads.is_empty() && !is_over(&job) {
        upload_all(&cluster, &job, &uploads, &request_id).await?;
        if !follows {
            job = status::get(&cluster, &job.name).await?;
        }
    }
    if follows {
        return watch::follow(&cluster, &job.name, true, args.output.output, palette).await;
    }
    printed(match args.output.output {
        OutputArg::Text => print::data(format!("{}\n", job.name)),
        OutputArg::Json => print_job(&job, OutputArg::Json, palette),
    })
}

/// What the command line says goes before what the file says.
fn apply(args: &SubmitArgs, spec: &mut v1::JobSpec) {
    spec.labels.extend(args.labels.iter().cloned());
    if let Some(priority) = args.priority {
        spec.priority = priority;
    }
    if let Some(trigger) = &args.trigger {
        spec.trigger.clone_from(trigger);
    }
    spec.dry_run |= args.dry_run;
}

/// Checks what would else be found only when the job is there already.
fn check(args: &SubmitArgs, uploads: &[Upload]) -> anyhow::Result<()> {
    for upload in uploads {
        let path = &upload.file;
        if path.ends_with("-") {
            anyhow::ensure!(
                args.file.as_os_str() != "-",
                "standard input has the job file: it cannot have the keys, too"
            );
            continue;
        }
        let opened = std::fs::File::open(path).and_then(|file| file.metadata());
        let found = opened.with_context(|| format!("cannot read {}", path.display()))?;
        anyhow::ensure!(!found.is_dir(), "{} is a directory", path.display());
    }
    Ok(())
}

/// An id that nobody else has: by it, a request whose answer was lost is known again.
fn new_request_id() -> String {
    let nanos = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default()
        .as_nanos();
    // Seeded by the system's randomness.
    let random = RandomState::new().hash_one(std::process::id());
    format!("submit-{nanos:x}-{random:016x}")
}

async fn create(
    cluster: &Cluster,
    request_id: &str,
    spec: v1::JobSpec,
) -> Result<v1::Job, Failure> {
    let request = v1::CreateJobRequest {
        request_id: request_id.into(),
        spec: Some(spec),
    };
    let created = cluster.call(|channel| {
        let request = unary(request.clone());
        async move { jobs(channel).create_job(request).await }
    });
    job_of(created.await?.job)
}

/// Uploads all files. What fails leaves the job waiting: it is said how to go on, or to give it up.
async fn upload_all(
    cluster: &Cluster,
    job: &v1::Job,
    uploads: &[Upload],
    request_id: &str,
) -> Result<(), Failure> {
    for each in uploads {
        let file = each.file.display();
        match upload::upload(cluster, job, each).await {
            Ok(entries) => print::say(format!("uploaded {entries} entries of {file}")),
            // The same upload came before: the job was submitted again, or an answer was lost.
            Err(failure) if was_uploaded(&failure) => print::say(format!("{:#}", failure.1)),
            Err((exit, error)) => {
                let name = &job.name;
                let error = error.context(format!(
                    "the job {name} is there, but waits for the keys of {file}: submit the file again with \
                     --request-id {request_id} when this is mended, or give the job up with `stoke abort {name}`"
                ));
                return Err((exit, error));
            }
        }
    }
    Ok(())
}

/// A job that waits for an upload takes it; one that does not had it before, or is over.
fn was_uploaded((_, error): &Failure) -> bool {
    let refused = error.downcast_ref::<Refused>();
    refused.is_some_and(|refused| refused.code == tonic::Code::FailedPrecondition)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    use crate::args::{Args, Command};

    fn args(line: &[&str]) -> SubmitArgs {
        match Args::parse_from(line).command {
            Command::Submit(args) => args,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn flags_go_before_the_file() {
        let label = |(key, value): (&str, &str)| (key.to_owned(), value.to_owned());
        let mut spec = v1::JobSpec {
            labels: [("team", "shop"), ("app", "web")].map(label).into(),
            trigger: "deploy".into(),
            priority: 5,
            ..v1::JobSpec::default()
        };
        let as_in_file = spec.clone();
        apply(&args(&["stoke", "submit", "job.toml"]), &mut spec);
        assert_eq!(spec, as_in_file);
        let line = [
            "stoke",
            "submit",
            "job.toml",
            "--label",
            "team=infra",
            "--label",
            "run=7",
            "--priority",
            "900",
            "--trigger",
            "fail-over",
            "--dry-run",
        ];
        apply(&args(&line), &mut spec);
        let expected = v1::JobSpec {
            labels: [("team", "infra"), ("app", "web"), ("run", "7")]
                .map(label)
                .into(),
            trigger: "fail-over".into(),
            priority: 900,
            dry_run: true,
            ..v1::JobSpec::default()
        };
        assert_eq!(spec, expected);
    }

    #[test]
    fn no_two_requests_have_one_id_and_each_fits() {
        let (one, other) = (new_request_id(), new_request_id());
        assert_ne!(one, other);
        assert!(one.len() <= 128, "{one}");
    }

    #[test]
    fn a_file_that_is_not_there_is_said_before_there_is_a_job() {
        let upload = Upload {
            source: 0,
            file: "/nowhere/keys.csv".into(),
        };
        let error = check(&args(&["stoke", "submit", "job.toml"]), &[upload]).unwrap_err();
        assert!(
            format!("{error:#}").starts_with("cannot read /nowhere/keys.csv: "),
            "{error:#}"
        );
    }
}
