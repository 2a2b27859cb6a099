//! A job's key sources.

use stoke_core::job::{
    FileFormat, From, KeySource, Merge, OnBadLine, Priorities, Reported, SAMPLE_MAX, Weight, Which,
};
use stoke_core::names::{LoaderName, SourceName};
use stoke_core::place::ObjectUrl;
use stoke_core::records::SourceTerms;
use stoke_proto::v1;

use super::faults::Faults;
use super::{copy, log, usage};
use crate::view::{Members, source_terms};

/// Parses a source of a job with these loaders; what those of the workers' configuration are, the workers know.
pub(super) fn key_source(
    faults: &mut Faults,
    at: &str,
    source: v1::KeySource,
    (loaders, members): (&[String], &Members),
) -> Option<KeySource> {
    let said = faults.one_of(&format!("{at}.merge"), source.merge);
    let on_bad_line = faults.one_of(&format!("{at}.on_bad_line"), source.on_bad_line);
    let weight = source.weight.map_or(Ok(Weight::default()), Weight::new);
    let weight = faults.keep(&format!("{at}.weight"), weight);
    let from = keys_from(faults, at, source.from, (&source.loader, loaders));
    // Without it, what else is wrong with the source is not worth speaking of.
    let from = from?;
    let terms = match &from {
        From::Named(name) => source_terms(members, name),
        _ => None,
    };
    let priorities = terms.map_or_else(|| from.priorities(), |terms| terms.priorities);
    let merge = merge(faults, &format!("{at}.merge"), said?, priorities);
    let several = several(faults, at, (&source.loader, &from), terms, loaders);
    let loader = match several.as_deref() {
        Some([first, ..]) => Some(*first),
        Some([]) => loader(
            faults,
            at,
            (&source.loader, &from),
            (terms, members),
            loaders,
        ),
        None => None,
    };
    Some(KeySource {
        loader: loader?,
        several: several?,
        merge: merge?,
        on_bad_line: match on_bad_line? {
            // Every log has some, and what is watched; and anybody may report.
            v1::OnBadLine::Unspecified
                if matches!(from, From::Log(_) | From::Monitor(_) | From::Reported(_)) =>
            {
                OnBadLine::Skip
            }
            v1::OnBadLine::Unspecified | v1::OnBadLine::Fail => OnBadLine::Fail,
            v1::OnBadLine::Skip => OnBadLine::Skip,
        },
        weight: weight?,
        from,
    })
}

/// How the priorities of a key's rows merge.
fn merge(
    faults: &mut Faults,
    field: &str,
    said: v1::Merge,
    priorities: Priorities,
) -> Option<Merge> {
    match said {
        v1::Merge::Unspecified => Some(priorities.merge()),
        v1::Merge::Max if priorities == Priorities::Counts => {
            faults.note(field, "must be the sum: counts add up");
            None
        }
        v1::Merge::Max => Some(Merge::Max),
        v1::Merge::Sum => Some(Merge::Sum),
    }
}

/// The loader of a source's keys: what the source says, else what is known of it.
fn loader(
    faults: &mut Faults,
    at: &str,
    (said, from): (&str, &From),
    (terms, members): (Option<&SourceTerms>, &Members),
    loaders: &[String],
) -> Option<u32> {
    let field = format!("{at}.loader");
    match (from, terms.map_or(&[][..], |terms| &terms.loaders)) {
        // Its entries bring their own.
        (From::Plan { .. }, _) => Some(0),
        // Its patterns say which.
        (From::Log(log), _) if !log.urls.is_empty() => Some(log.urls[0].loader),
        (From::Named(_), [one]) if said.is_empty() && loaders.len() > 1 => {
            which_loader(faults, &field, one.as_str(), loaders)
        }
        // That nobody knows it is said where it is asked who can do the job.
        (From::Named(name), []) if said.is_empty() && !is_known(members, name) => Some(0),
        _ if said.is_empty() && loaders.len() > 1 => {
            let problem = format!("say which loader loads its keys: {}", loaders.join(", "));
            faults.note(field, problem);
            None
        }
        _ => which_loader(faults, &field, said, loaders),
    }
}

fn is_known(members: &Members, name: &SourceName) -> bool {
    (members.values()).any(|member| member.sources.contains_key(name))
}

/// The loaders of a named source that has keys of several, by their places, in rising order; none of another. The job needs them
/// all.
fn several(
    faults: &mut Faults,
    at: &str,
    (said, from): (&str, &From),
    terms: Option<&SourceTerms>,
    loaders: &[String],
) -> Option<Vec<u32>> {
    let several = terms.map_or(&[][..], |terms| &terms.loaders);
    let (From::Named(name), [_, _, ..]) = (from, several) else {
        return Some(Vec::new());
    };
    if !said.is_empty() {
        let problem = format!("{name} has keys of several loaders, by its patterns: leave it out");
        faults.note(format!("{at}.loader"), problem);
        return None;
    }
    let lacking = several.iter().map(LoaderName::as_str);
    let lacking: Vec<&str> = lacking
        .filter(|name| !loaders.iter().any(|of_job| of_job == name))
        .collect();
    if !lacking.is_empty() {
        let lacking = lacking.join(", ");
        let problem = format!("{name} has keys of the loaders {lacking}, too: add them to the job");
        faults.note(format!("{at}.named"), problem);
        return None;
    }
    let is_one = |of_job: &String| several.iter().any(|name| name.as_str() == of_job);
    let places = (0..).zip(loaders).filter(|(_, of_job)| is_one(of_job));
    Some(places.map(|(n, _)| n).collect())
}

/// The index of the loader that a key source names. With one loader there is nothing to choose; that there
/// is none is said elsewhere.
pub(super) fn which_loader(
    faults: &mut Faults,
    field: &str,
    name: &str,
    loaders: &[String],
) -> Option<u32> {
    if loaders.is_empty() || (name.is_empty() && loaders.len() == 1) {
        return Some(0);
    }
    let found = loaders.iter().position(|loader| loader == name);
    if found.is_none() {
        faults.note(field, format!("the job has no loader {name:?}"));
    }
    found.and_then(|n| u32::try_from(n).ok())
}

fn keys_from(
    faults: &mut Faults,
    at: &str,
    from: Option<v1::key_source::From>,
    (loader, loaders): (&str, &[String]),
) -> Option<From> {
    match from {
        None => {
            faults.note(
                format!("{at}.from"),
                "set one of named, sql, file, log, upload, plan, scan, keyspace, hot_keys, monitor, counter, prometheus, inline and reported",
            );
            None
        }
        Some(v1::key_source::From::Named(named)) => {
            Some(From::Named(faults.name(&format!("{at}.named"), &named)?))
        }
        Some(v1::key_source::From::Upload(_)) => Some(From::Upload),
        Some(v1::key_source::From::Scan(_)) => Some(From::Scan),
        Some(v1::key_source::From::Plan(plan)) => {
            let job = faults.name(&format!("{at}.plan.job"), &plan.job);
            let which = which(faults, &format!("{at}.plan"), plan.which);
            Some(From::Plan {
                job: job?,
                which: which?,
            })
        }
        Some(v1::key_source::From::Sql(sql)) => {
            let origin = faults.name(&format!("{at}.sql.origin"), &sql.origin);
            let query = faults.query(&format!("{at}.sql.query"), sql.query);
            Some(From::Sql {
                origin: origin?,
                query: query?,
            })
        }
        Some(v1::key_source::From::Keyspace(scan)) => {
            copy::scan(faults, &format!("{at}.keyspace"), &scan)
        }
        Some(v1::key_source::From::Counter(counter)) => {
            let counter = usage::counter(faults, &format!("{at}.counter"), counter);
            Some(From::Counter(Box::new(counter?)))
        }
        Some(v1::key_source::From::HotKeys(hot)) => {
            let hot = usage::hot_keys(faults, &format!("{at}.hot_keys"), &hot);
            Some(From::HotKeys(Box::new(hot?)))
        }
        Some(v1::key_source::From::Monitor(monitor)) => {
            let monitor = usage::monitor(faults, &format!("{at}.monitor"), monitor);
            Some(From::Monitor(Box::new(monitor?)))
        }
        Some(v1::key_source::From::Prometheus(series)) => {
            let series = usage::series(faults, &format!("{at}.prometheus"), series);
            Some(From::Prometheus(Box::new(series?)))
        }
        Some(v1::key_source::From::Log(log)) => {
            let log = log::access_log(faults, &format!("{at}.log"), log, loader, loaders);
            Some(From::Log(Box::new(log?)))
        }
        Some(v1::key_source::From::File(file)) => {
            let field = format!("{at}.file.path");
            if file.path.is_empty() {
                faults.note(field, "name a file");
            } else {
                faults.keep(&field, ObjectUrl::of(&file.path));
            }
            Some(From::File {
                path: file.path,
                format: format(faults, &format!("{at}.file.format"), file.format)?,
            })
        }
        Some(v1::key_source::From::Inline(inline)) => {
            if inline.content.trim().is_empty() {
                faults.note(
                    format!("{at}.inline.content"),
                    "write keys: CSV with a header, or an object on each line",
                );
            }
            let field = format!("{at}.inline.format");
            let format = format(faults, &field, inline.format)?;
            if format == Some(FileFormat::Parquet) {
                faults.note(field, "Parquet is no text: write CSV, or objects");
            }
            Some(From::Inline {
                content: inline.content,
                format,
            })
        }
        Some(v1::key_source::From::Reported(reported)) => {
            let feed = faults.name(&format!("{at}.reported.feed"), &reported.feed);
            let pattern = usage::pattern(faults, &format!("{at}.reported"), &reported.r#match);
            Some(From::Reported(Box::new(Reported {
                feed: feed?,
                top: (reported.top > 0).then_some(reported.top),
                pattern: pattern?,
            })))
        }
    }
}

fn format(faults: &mut Faults, field: &str, format: i32) -> Option<Option<FileFormat>> {
    Some(match faults.one_of(field, format)? {
        v1::FileFormat::Unspecified => None,
        v1::FileFormat::Csv => Some(FileFormat::Csv),
        v1::FileFormat::Ndjson => Some(FileFormat::Ndjson),
        v1::FileFormat::Parquet => Some(FileFormat::Parquet),
    })
}

fn which(faults: &mut Faults, at: &str, which: Option<v1::plan_source::Which>) -> Option<Which> {
    match which {
        Some(v1::plan_source::Which::All(_)) => Some(Which::All),
        Some(v1::plan_source::Which::Failed(_)) => Some(Which::Failed),
        Some(v1::plan_source::Which::Sample(most)) => {
            if !(1..=SAMPLE_MAX).contains(&most) {
                let problem = format!("must be from 1 to {SAMPLE_MAX}");
                faults.note(format!("{at}.sample"), problem);
            }
            Some(Which::Sample(most))
        }
        None => {
            faults.note(format!("{at}.which"), "set one of all, sample and failed");
            None
        }
    }
}
