//! Keys that stand in the job file, and keys that applications report: merged with weights.

use std::collections::BTreeMap;

use stoke_harness::ServerDir;
use stoke_proto::v1;
use stoke_proto::v1::access_service_client::AccessServiceClient;

use crate::command_line::stoke;
use crate::scene::Scene;
use crate::shop;

const JOB: &str = r#"
cache = "main"
allowed-failures = 0
[[loaders]]
name = "item"
[[sources]]
inline = """
key,priority
17,5
18,1
"""
weight = 2
merge = "sum"
[[sources]]
feed = "shop"
match = "item:{id}"
top = 3
merge = "sum"
"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_listed_and_what_is_reported_is_warmed_together_by_its_weight() {
    let scene = Scene::start(1, 100);
    shop::fill(&scene);
    scene.wait_for_members(3);
    let leader = scene.leader();
    let files = ServerDir::new("job-files").unwrap();
    let file = files.path().join("job.toml");
    std::fs::write(&file, JOB).unwrap();
    let submit = || {
        stoke(
            &leader,
            &[
                "submit",
                file.to_str().unwrap(),
                "--watch",
                "--output",
                "json",
            ],
        )
    };

    let early = submit();
    assert_eq!(early.code, 2, "{early:?}");
    assert!(
        early.out.contains("nothing was reported to the feed shop"),
        "{early:?}"
    );

    let access = |key: &str, count| v1::Access {
        key: key.into(),
        count,
        when: None,
    };
    let report = v1::ReportAccessesRequest {
        feed: "shop".into(),
        accesses: vec![
            access("item:18", 3),
            access("item:19", 4),
            access("cart:1", 9),
            access("item:20", 1),
        ],
    };
    let mut accesses = AccessServiceClient::connect(leader.clone()).await.unwrap();
    let counted = accesses
        .report_accesses(tokio_stream::iter([report]))
        .await
        .unwrap();
    assert_eq!((counted.into_inner().accesses), 4);

    let ran = submit();
    assert_eq!(ran.code, 0, "{ran:?}");
    let job = ran.lines().pop().unwrap();
    assert_eq!(job["outcomes"]["warmed"], 3, "{ran:?}");
    let plan = stoke(
        &leader,
        &[
            "plan",
            "export",
            job["job"].as_str().unwrap(),
            "--output",
            "json",
        ],
    );
    let priorities: BTreeMap<String, f64> = plan
        .lines()
        .iter()
        .map(|entry| {
            (
                entry["key"].as_str().unwrap().to_owned(),
                entry["priority"].as_f64().unwrap(),
            )
        })
        .collect();
    // 20 is behind the feed's top, of which a cart is none of the loader's.
    let expected = [("item:17", 10.0), ("item:18", 2.0 + 3.0), ("item:19", 4.0)];
    assert_eq!(priorities.len(), expected.len(), "{plan:?}");
    for (key, priority) in expected {
        // What was reported a moment ago counts a little less by now.
        assert!((priorities[key] - priority).abs() < 0.05, "{key}: {plan:?}");
    }
}
