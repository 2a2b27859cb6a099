//! `stoke submit`: a job from a job file, with what is uploaded for it.

mod upload;

use anyhow::Context;
use stoke_proto::v1::{self, JobState};
use tonic::Code;

use super::{print_created, request_id, status, watch};
use crate::args::SubmitArgs;
use crate::client::{Cluster, job_of, jobs, refusal::Refused, unary};
use crate::exit::{Exit, Failure, OrExit};
use crate::job_file::{self, JobFile, Upload};
use crate::show::style::Palette;
use crate::{Outcome, print};

/// Creates a job, uploads its keys, and prints its name; or follows it to its end.
pub async fn submit(args: &SubmitArgs, palette: Palette) -> Outcome {
    let JobFile { mut spec, uploads } = job_file::read(&args.file).or_exit(Exit::Usage)?;
    apply(args, &mut spec);
    check(args, &uploads).or_exit(Exit::Usage)?;
    let cluster = Cluster::new(&args.output.cluster.coordinator)?;
    let request_id = args
        .request_id
        .clone()
        .unwrap_or_else(|| request_id::new("submit"));
    let mut job = create(&cluster, &request_id, spec).await?;
    // A dry run is asked for what it finds.
    let follows = args.watch || args.dry_run;
    if follows || !uploads.is_empty() {
        print::say(format!("job {}", job.name));
    }
    if !uploads.is_empty() {
        upload_all(&cluster, &job, &uploads, &request_id).await?;
        if !follows {
            job = status::get(&cluster, &job.name).await?;
        }
    }
    if follows {
        let left = watch::goes_on(&job.name);
        let output = args.output.output;
        return watch::follow(&cluster, &job.name, true, output, palette, &left).await;
    }
    print_created(&job, args.output.output, palette)
}

/// What the command line says goes before what the file says.
fn apply(args: &SubmitArgs, spec: &mut v1::JobSpec) {
    spec.labels.extend(args.labels.iter().cloned());
    if let Some(priority) = args.priority {
        spec.priority = priority;
    }
    if let (Some(fit), Some(v1::job_spec::Work::Batch(batch))) = (args.fit, &mut spec.work) {
        batch.fit = v1::Fit::from(fit).into();
    }
    if let (Some(section), Some(v1::job_spec::Work::Batch(batch))) =
        (args.section.section(), &mut spec.work)
    {
        batch.section = Some(section);
    }
    if let Some(trigger) = &args.trigger {
        spec.trigger.clone_from(trigger);
    }
    spec.dry_run |= args.dry_run;
}

/// Checks what would else be found only when the job is there already.
fn check(args: &SubmitArgs, uploads: &[Upload]) -> anyhow::Result<()> {
    for Upload { file, .. } in uploads {
        anyhow::ensure!(
            args.file.as_os_str() != "-" || file.as_os_str() != "/dev/stdin",
            "standard input has the job file: it cannot have the keys, too"
        );
        let cannot = || format!("cannot read {}", file.display());
        let found = std::fs::metadata(file).with_context(cannot)?;
        anyhow::ensure!(!found.is_dir(), "{} is a directory", file.display());
        // A pipe is left alone: whoever writes to it would find it closed.
        if found.is_file() {
            std::fs::File::open(file).with_context(cannot)?;
        }
    }
    Ok(())
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

/// Uploads all files, each for a job in whatever state: what was uploaded before is compared, and taken where it is the same.
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
            Err(failure) => {
                // Only a refusal can be for the reason that the job was aborted.
                let state = match code_of(&failure) {
                    Some(Code::FailedPrecondition) => {
                        let now = status::get(cluster, &job.name).await.ok();
                        now.map(|job| job.state())
                    }
                    _ => None,
                };
                return Err(not_uploaded(failure, state, &job.name, each, request_id));
            }
        }
    }
    Ok(())
}

fn code_of((_, error): &Failure) -> Option<Code> {
    let refused = error.downcast_ref::<Refused>();
    refused.map(|refused| refused.code)
}

/// What a failed upload ends with. One that may succeed leaves the job waiting: it is said how to go on, or to give it up.
fn not_uploaded(
    failure: Failure,
    state: Option<JobState>,
    name: &str,
    upload: &Upload,
    request_id: &str,
) -> Failure {
    let file = upload.file.display();
    let refused = code_of(&failure);
    let (exit, error) = failure;
    match (state, refused) {
        (Some(JobState::Aborting | JobState::Aborted), _) => {
            let what = format!("the job {name} was aborted before {file} was uploaded");
            (Exit::Aborted, error.context(what))
        }
        // The job does not take it, now or later.
        (_, Some(Code::FailedPrecondition | Code::AlreadyExists | Code::NotFound)) => (
            exit,
            error.context(format!("{file} was not uploaded for the job {name}")),
        ),
        _ => {
            let what = format!(
                "the job {name} is there, but waits for the keys of {file}: submit the file again with \
                 --request-id {request_id} when this is mended, or give the job up with `stoke abort {name}`"
            );
            (exit, error.context(what))
        }
    }
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

    #[test]
    fn a_refused_upload_is_never_a_success() {
        let upload = Upload {
            source: 0,
            file: "keys.csv".into(),
        };
        let ended = |code, state| {
            let failure = crate::client::refusal::failure(&tonic::Status::new(code, "no"));
            let (exit, error) = not_uploaded(failure, state, "j1", &upload, "r1");
            (exit, format!("{error:#}").contains("--request-id r1"))
        };
        let aborted = Some(JobState::Aborted);
        assert_eq!(
            ended(Code::FailedPrecondition, aborted),
            (Exit::Aborted, false)
        );
        let over = Some(JobState::Succeeded);
        assert_eq!(ended(Code::FailedPrecondition, over), (Exit::Usage, false));
        assert_eq!(ended(Code::AlreadyExists, None), (Exit::Usage, false));
        assert_eq!(ended(Code::Unavailable, None), (Exit::Unreachable, true));
    }

    #[test]
    fn standard_input_is_not_both_the_job_and_its_keys() {
        let upload = Upload {
            source: 0,
            file: "/dev/stdin".into(),
        };
        let error = check(&args(&["stoke", "submit", "-"]), &[upload]).unwrap_err();
        assert!(
            error
                .to_string()
                .starts_with("standard input has the job file")
        );
    }
}
