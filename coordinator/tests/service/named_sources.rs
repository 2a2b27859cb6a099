//! Key sources of the workers' configuration: what the workers say of them stands in for what a job does not say.

use stoke_core::job::Priorities;
use stoke_core::records::{Job, Member, SourceTerms, keys};
use stoke_proto::v1::key_source::From;
use stoke_proto::v1::{self, Merge};
use tonic::Code;

use super::cluster::{Cluster, assert_precondition, fault, job_name, member, spec, work, worker};

fn name<T: std::str::FromStr<Err: std::fmt::Debug>>(name: &str) -> T {
    name.parse().unwrap()
}

/// A worker with a log of two loaders, series, and a list of one loader, beside what everybody knows.
fn able() -> Member {
    let terms = |loaders: &[&str], priorities| SourceTerms {
        loaders: loaders.iter().map(|loader| name(loader)).collect(),
        priorities,
    };
    let sources = ["top", "log", "series", "list"].map(|source| (name(source), None));
    let loaders = ["product", "search", "page"].map(|loader| (name(loader), name("shop")));
    Member {
        sources: sources.into(),
        loaders: loaders.into(),
        source_terms: [
            (
                name("log"),
                terms(&["search", "product"], Priorities::Counts),
            ),
            (name("series"), terms(&[], Priorities::Numbers)),
            (name("list"), terms(&["page"], Priorities::Ranks)),
        ]
        .into(),
        ..member()
    }
}

/// A job of these loaders whose only source is called so.
fn asked(source: &str, loaders: &[&str], change: impl Fn(&mut v1::KeySource)) -> v1::JobSpec {
    let mut asked = spec(vec![From::Named(source.into())]);
    let batch = work(&mut asked);
    let loader = |name: &&str| v1::Loader {
        name: (*name).into(),
        ..v1::Loader::default()
    };
    batch.loaders = loaders.iter().map(loader).collect();
    change(&mut batch.sources[0]);
    asked
}

#[tokio::test]
async fn what_a_job_does_not_say_of_a_source_the_workers_do() {
    let (cluster, leader) = Cluster::with_leader().await;
    cluster.join_as("w1", able()).await;
    let all = ["page", "product", "search"];
    for (source, loaders, change, expected) in [
        ("top", &["page"][..], None, ("page", Merge::Max)),
        ("log", &all, None, ("", Merge::Sum)),
        (
            "log",
            &["product", "search"],
            Some(Merge::Sum),
            ("", Merge::Sum),
        ),
        ("series", &["page"], None, ("page", Merge::Sum)),
        ("series", &["page"], Some(Merge::Max), ("page", Merge::Max)),
        ("list", &all, None, ("page", Merge::Max)),
        // There is nothing to choose.
        ("list", &["product"], None, ("product", Merge::Max)),
    ] {
        let asked = asked(source, loaders, |source| {
            source.merge = change.unwrap_or(Merge::Unspecified).into();
        });
        let mut job = leader.create(asked).await.unwrap();
        // What is shown of a job can be asked for again.
        let again = leader.create(job.spec.clone().unwrap()).await.unwrap();
        assert_eq!(again.spec, job.spec);
        let made = work(job.spec.as_mut().unwrap()).sources[0].clone();
        assert_eq!(
            (&*made.loader, made.merge()),
            expected,
            "{source} {loaders:?}"
        );
    }
    // What the job says goes before it.
    let said = asked("list", &all, |source| source.loader = "product".into());
    let mut job = leader.create(said).await.unwrap();
    let made = work(job.spec.as_mut().unwrap()).sources[0].clone();
    assert_eq!(made.loader, "product");

    for (source, loaders, loader, merge, field, says) in [
        (
            "log",
            &all[..2],
            "",
            Merge::Unspecified,
            "named",
            "keys of the loaders search, too",
        ),
        (
            "log",
            &all,
            "product",
            Merge::Unspecified,
            "loader",
            "keys of several loaders",
        ),
        ("log", &all, "", Merge::Max, "merge", "counts add up"),
        (
            "top",
            &all,
            "",
            Merge::Unspecified,
            "loader",
            "say which loader loads its keys: page, product, search",
        ),
        (
            "list",
            &["product", "search"],
            "",
            Merge::Unspecified,
            "loader",
            "no loader \"page\"",
        ),
    ] {
        let asked = asked(source, loaders, |source| {
            source.loader = loader.into();
            source.merge = merge.into();
        });
        let refused = leader.create(asked).await.unwrap_err();
        let field = format!("spec.batch.sources[0].{field}");
        assert_eq!(fault(&refused), (Code::InvalidArgument, field));
        assert!(refused.message().contains(says), "{refused}");
    }
}

#[tokio::test]
async fn a_request_that_comes_again_while_the_workers_are_away_or_others_gives_its_job() {
    let (cluster, leader) = Cluster::with_leader().await;
    cluster.join_as("w1", able()).await;
    for (id, source) in [("deploy/1", "series"), ("deploy/2", "log")] {
        let asked = || {
            asked(source, &["product", "search"], |source| {
                if source.from == Some(From::Named("series".into())) {
                    source.loader = "product".into();
                }
            })
        };
        let job = leader.create_as(id, asked()).await.unwrap();
        cluster.delete(&keys::member(&worker("w1"))).await;
        let again = leader.create_as(id, asked()).await.unwrap();
        assert_eq!(again.name, job.name);
        // One that knows nothing of what adds up.
        let other = Member {
            source_terms: Default::default(),
            ..able()
        };
        cluster.join_as("w1", other).await;
        let again = leader.create_as(id, asked()).await.unwrap();
        assert_eq!(again.name, job.name);
        let mut another = asked();
        another.trigger = "fail-over".into();
        cluster.join_as("w1", able()).await;
        let refused = leader.create_as(id, another).await.unwrap_err();
        assert_eq!(refused.code(), Code::AlreadyExists, "{refused}");
    }
}

#[tokio::test]
async fn of_a_source_that_nobody_knows_that_is_said_and_not_what_it_lacks() {
    let (cluster, leader) = Cluster::with_leader().await;
    cluster.join_as("w1", able()).await;
    let wrong = || asked("lgo", &["page", "product"], |_| {});
    let says = "it does not know the key source lgo";
    assert_precondition(leader.create(wrong()).await, says);
    cluster.delete(&keys::member(&worker("w1"))).await;
    assert_precondition(leader.create(wrong()).await, "no worker is there");
}

#[tokio::test]
async fn a_worker_whose_source_has_keys_of_other_loaders_is_not_given_the_job() {
    let (cluster, leader) = Cluster::with_leader().await;
    cluster.join_as("w1", able()).await;
    let job = leader
        .create(asked("log", &["product", "search"], |_| {}))
        .await
        .unwrap();
    assert_eq!(job.state(), v1::JobState::Pending);
    for loaders in [&["product"][..], &[], &["product", "page"]] {
        let terms = SourceTerms {
            loaders: loaders.iter().map(|loader| name(loader)).collect(),
            priorities: Priorities::Counts,
        };
        let other = Member {
            source_terms: [(name("log"), terms)].into(),
            ..able()
        };
        let spec = cluster
            .read::<Job>(&keys::job(&job_name(&job.name)))
            .await
            .unwrap()
            .0
            .spec;
        let unfit = stoke_coordinator::view::unfit(&spec, &other);
        assert!(
            unfit
                .as_ref()
                .is_some_and(|why| why.contains("keys of other loaders")),
            "{loaders:?}: {unfit:?}"
        );
        assert_eq!(stoke_coordinator::view::unfit(&spec, &able()), None);
    }
}
