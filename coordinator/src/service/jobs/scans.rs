//! Loaders that scan need no key source: one is added of each that no source names. What a scan cannot be part of is refused.

use stoke_core::job::{Batch, From, KeySource, Loader, Merge, OnBadLine, Spec, Work};

use super::super::parse::ITEMS_MAX;
use super::super::refusal::{Refusal, invalid};
use crate::view::Members;

/// The spec with the scans that it means; which loaders of the workers' configuration scan, the members say.
///
/// # Errors
/// Where something stands beside a scan that cannot, and where there is nothing to read.
pub(super) fn complete(mut spec: Spec, members: &Members) -> Result<Spec, Refusal> {
    let Work::Batch(batch) = &mut spec.work;
    add(batch, members);
    check(batch, members)?;
    Ok(spec)
}

/// Whether a loader scans.
fn scans(loader: &Loader, members: &Members) -> bool {
    match &loader.recipe {
        Some(recipe) => recipe.scan.is_some(),
        None => (members.values()).any(|member| member.scans.contains(&loader.name)),
    }
}

fn add(batch: &mut Batch, members: &Members) {
    // The entries of another job's plan bring their loaders, which no source needs to name.
    if (batch.sources.iter()).any(|source| matches!(source.from, From::Plan { .. })) {
        return;
    }
    for (n, loader) in (0u32..).zip(&batch.loaders) {
        let named = (batch.sources.iter()).any(|source| source.loaders().any(|loader| loader == n));
        if !named && scans(loader, members) {
            batch.sources.push(KeySource {
                loader: n,
                from: From::Scan,
                several: Vec::new(),
                merge: Merge::Max,
                on_bad_line: OnBadLine::Fail,
                weight: Default::default(),
            });
        }
    }
}

fn check(batch: &Batch, members: &Members) -> Result<(), Refusal> {
    if batch.sources.is_empty() && members.is_empty() {
        // Whether the loaders scan, nobody says.
        let problem = "no worker is there: start one";
        return Err(Refusal::Precondition(problem.into()));
    }
    if batch.sources.is_empty() {
        return Err(invalid(
            "spec.batch.sources",
            "name at least one key source",
        ));
    }
    if batch.sources.len() > ITEMS_MAX {
        let problem = format!("with one for each scan there are more than {ITEMS_MAX}");
        return Err(invalid("spec.batch.sources", problem));
    }
    let mut any = false;
    for (n, source) in batch.sources.iter().enumerate() {
        for loader in source.loaders() {
            let loader = usize::try_from(loader).ok();
            if let Some(loader) = loader.and_then(|n| batch.loaders.get(n)) {
                any |= fits(&format!("spec.batch.sources[{n}]"), source, loader, members)?;
            }
        }
    }
    if any && !batch.section.is_whole() {
        let problem = "a scan reads rows whose keys, and so their slots, are known only then: warm all of the cache, or give \
                       a key source";
        return Err(invalid("spec.batch.section", problem));
    }
    Ok(())
}

/// Whether a source is a scan of its loader; a source and a loader that do not go together are refused.
fn fits(at: &str, source: &KeySource, loader: &Loader, members: &Members) -> Result<bool, Refusal> {
    let name = &loader.name;
    match (&source.from, scans(loader, members)) {
        (From::Scan, true) => Ok(true),
        (From::Scan, false) => {
            let problem = format!(
                "the loader {name} takes keys: give it a key source, or say by which column it scans"
            );
            Err(invalid(format!("{at}.scan"), problem))
        }
        (From::Plan { .. }, _) | (_, false) => Ok(false),
        (_, true) => {
            let problem = format!(
                "the loader {name} scans, and takes no keys: remove this source, or name a loader with :keys"
            );
            Err(invalid(format!("{at}.loader"), problem))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use stoke_core::access_log::{AccessLog, Fields, Filter, Lines, UrlRule};
    use stoke_core::job::{Fit, Mode, Section};
    use stoke_core::records::Member;

    use super::*;

    fn members() -> Members {
        let member = Member {
            scans: ["whole".parse().unwrap()].into(),
            ..Member::default()
        };
        [("w1.a".parse().unwrap(), member)].into()
    }

    fn spec(loaders: &[&str], sources: &[(u32, From)]) -> Spec {
        let loader = |name: &&str| Loader {
            name: name.parse().unwrap(),
            recipe: None,
        };
        let source = |(loader, from): &(u32, From)| KeySource {
            loader: *loader,
            from: from.clone(),
            several: Vec::new(),
            merge: Merge::Max,
            on_bad_line: OnBadLine::Fail,
            weight: Default::default(),
        };
        Spec {
            labels: BTreeMap::new(),
            trigger: String::new(),
            requester: String::new(),
            priority: 0,
            dry_run: false,
            work: Work::Batch(Batch {
                sources: sources.iter().map(source).collect(),
                loaders: loaders.iter().map(loader).collect(),
                cache: "main".parse().unwrap(),
                also: Vec::new(),
                mode: Mode::Add,
                allowed_failures: 0,
                attempts_max: 5,
                section: Section::default(),
                fit: Fit::Cut,
            }),
        }
    }

    fn sources(spec: Spec) -> Result<Vec<(u32, From)>, String> {
        let spec = complete(spec, &members()).map_err(|refused| refused.to_string())?;
        let Work::Batch(batch) = spec.work;
        let sources = batch.sources.into_iter();
        Ok(sources.map(|source| (source.loader, source.from)).collect())
    }

    #[test]
    fn a_loader_that_scans_and_is_named_by_no_source_gets_one() {
        let scan = (0, From::Scan);
        assert_eq!(sources(spec(&["whole"], &[])), Ok(vec![scan.clone()]));
        let asked = spec(&["whole"], std::slice::from_ref(&scan));
        assert_eq!(sources(asked), Ok(vec![scan]));
        let both = spec(&["by-key", "whole"], &[(0, From::Upload)]);
        assert_eq!(sources(both), Ok(vec![(0, From::Upload), (1, From::Scan)]));
        let plan = From::Plan {
            job: "1-a".parse().unwrap(),
            which: stoke_core::job::Which::All,
        };
        let alone = complete(spec(&["whole"], &[]), &Members::new());
        assert!(matches!(alone, Err(Refusal::Precondition(_))));
        let earlier = spec(&["whole"], &[(0, plan.clone())]);
        assert_eq!(sources(earlier), Ok(vec![(0, plan)]));
    }

    /// A log whose URLs are of these loaders.
    fn log(loaders: &[u32]) -> From {
        let rule = |loader: &u32| UrlRule {
            pattern: "/p/{id}".parse().unwrap(),
            loader: *loader,
        };
        From::Log(Box::new(AccessLog {
            paths: vec!["access.log".into()],
            lines: Lines::Auto,
            fields: Fields::default(),
            urls: loaders.iter().map(rule).collect(),
            filter: Filter::default(),
            half_life_s: None,
        }))
    }

    #[test]
    fn a_log_is_a_source_of_each_loader_that_its_patterns_name() {
        let beside = spec(&["whole", "by-key", "other"], &[(1, log(&[1, 2]))]);
        let found = sources(beside).unwrap();
        assert_eq!(found, [(1, log(&[1, 2])), (0, From::Scan)]);
        let of_scan = spec(&["by-key", "whole"], &[(0, log(&[0, 1]))]);
        assert!(
            sources(of_scan)
                .unwrap_err()
                .contains("whole scans, and takes no keys")
        );
    }

    #[test]
    fn what_cannot_stand_beside_a_scan_is_refused() {
        let refused = |spec| sources(spec).unwrap_err();
        assert!(refused(spec(&["by-key"], &[])).contains("at least one key source"));
        assert!(refused(spec(&["by-key"], &[(0, From::Scan)])).contains("takes keys"));
        assert!(refused(spec(&["whole"], &[(0, From::Upload)])).contains("takes no keys"));
        let mut section = spec(&["whole"], &[]);
        let Work::Batch(batch) = &mut section.work;
        batch.section.nodes.insert("a:1".into());
        assert!(refused(section).contains("warm all of the cache"));
    }
}
