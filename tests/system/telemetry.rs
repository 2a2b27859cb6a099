//! What processes tell of themselves: metrics, traces, logs, health; and what is made of it in deploy/.
//!
//! One job on one fleet serves all live checks: it is looked at while it runs.

mod collector;
mod fleet;
mod queries;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use stoke_core::metric::{Kind, Metric};
use stoke_harness::{Program, Prometheus, http_get, promtool, wait_for};
use stoke_proto::v1;

use crate::scene::{PATIENCE, connect, is_over, watch_until};
use collector::{Arrived, Collector};
use fleet::{CACHE_PASSWORD, COLLECTOR_PASSWORD, Fleet, ORIGIN_PASSWORD, PLANNED};

/// The caller's trace and span.
const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const SPAN: &str = "b7ad6b7169203331";
/// Another trace, in which the command line is started.
const OTHER_TRACE: &str = "11111111111111111111111111111111";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fleet_at_work_tells_all_that_its_documents_dashboard_and_alerts_speak_of() {
    let (collector, addresses) = Collector::start().await;
    let fleet = Fleet::start(&addresses);
    let prometheus = fleet.prometheus();
    assert_health_is_told_by_the_port(&fleet);

    let leader = fleet.processes[0].address.clone();
    let job = create(&leader).await;
    let seen = look_on(&fleet, &prometheus, &leader, &job).await;
    seen.assert_all_queries_were_answered();
    seen.assert_metrics_are_those_of_the_tables();
    assert_series_end_with_their_job(&fleet, &job);

    assert_batches_descend_from_the_caller(&collector).await;
    assert_the_command_line_goes_on_with_its_trace(&collector, &leader, &job);
    assert_metrics_arrive_over_otlp(&collector);
    assert_lines_about_the_job_say_so(&fleet, &job);
    assert_a_collector_that_is_not_there_is_said_once(&fleet);
    assert_no_secret_is_told(&fleet);
    assert_who_is_given_a_collector_that_is_none_works_all_the_same(&fleet);
    assert_the_jobs_end_was_counted_once(&fleet);
    assert_unready_without_etcd(&fleet);
}

#[test]
fn the_alert_rules_and_the_example_are_valid_and_each_alert_fires_when_it_should() {
    let folder = queries::deploy("prometheus");
    promtool(&folder, &["check", "rules", "alerts.yml"]).unwrap();
    promtool(&folder, &["check", "config", "prometheus.yml"]).unwrap();
    promtool(&folder, &["test", "rules", "alerts_test.yml"]).unwrap();
    let rules = std::fs::read_to_string(folder.join("alerts.yml")).unwrap();
    let tests = std::fs::read_to_string(folder.join("alerts_test.yml")).unwrap();
    for alert in rules
        .lines()
        .filter_map(|l| l.trim().strip_prefix("- alert: "))
    {
        assert!(
            tests.contains(&format!("alertname=\"{alert}\"")),
            "no scene shows {alert} fire"
        );
    }
    for needed in ["summary:", "description:", "severity:"] {
        let count = |text: &str| rules.matches(text).count();
        assert_eq!(count(needed), count("- alert:"), "{needed}");
    }
}

#[test]
fn the_dashboards_panels_have_ids_of_their_own_and_a_data_source_to_choose() {
    let dashboard = queries::dashboard();
    let panels = dashboard["panels"].as_array().unwrap();
    let ids: BTreeSet<i64> = panels.iter().map(|p| p["id"].as_i64().unwrap()).collect();
    assert_eq!(ids.len(), panels.len());
    let variables = dashboard["templating"]["list"].as_array().unwrap();
    assert!(
        variables
            .iter()
            .any(|v| v["type"] == "datasource" && v["name"] == "datasource")
    );
    for panel in panels.iter().filter(|panel| panel["type"] != "row") {
        let targets = panel["targets"].as_array().unwrap();
        for place in targets.iter().chain([panel]) {
            assert_eq!(place["datasource"]["uid"], "${datasource}", "{panel}");
        }
    }
}

/// Jobs are without number: what is over is not told of by name any more.
fn assert_series_end_with_their_job(fleet: &Fleet, job: &str) {
    let ended = || {
        let pages = fleet.pages("/metrics");
        anyhow::ensure!(
            !pages.iter().any(|(_, _, page)| page.contains(job)),
            "still there"
        );
        Ok(())
    };
    wait_for("the job's series to end", PATIENCE, ended).unwrap();
}

/// Its series have ended, so a look has seen it to be over; and others have been since.
fn assert_the_jobs_end_was_counted_once(fleet: &Fleet) {
    let leader = &fleet.pages("/metrics")[0].2;
    let counted: BTreeSet<&str> = leader
        .lines()
        .filter(|line| line.starts_with("stoke_coordinator_jobs"))
        .collect();
    let expected = [
        r#"stoke_coordinator_jobs{state="ABORTING"} 0"#,
        r#"stoke_coordinator_jobs{state="PAUSED"} 0"#,
        r#"stoke_coordinator_jobs{state="PENDING"} 0"#,
        r#"stoke_coordinator_jobs{state="PLANNING"} 0"#,
        r#"stoke_coordinator_jobs{state="RUNNING"} 0"#,
        r#"stoke_coordinator_jobs_ended_total{state="ABORTED"} 0"#,
        r#"stoke_coordinator_jobs_ended_total{state="FAILED"} 0"#,
        r#"stoke_coordinator_jobs_ended_total{state="SUCCEEDED"} 1"#,
    ];
    assert_eq!(counted, expected.into());
}

fn assert_health_is_told_by_the_port(fleet: &Fleet) {
    for path in ["/healthz", "/readyz", "/metrics"] {
        fleet.wait_for_status(path, 200);
    }
    for path in ["/", "/debug", "/metrics/more"] {
        assert!(
            fleet
                .pages(path)
                .iter()
                .all(|(_, status, _)| *status == 404)
        );
    }
}

/// Creates the job, as a caller that traces.
async fn create(leader: &str) -> String {
    let mut jobs = connect(leader).await;
    let mut request = tonic::Request::new(v1::CreateJobRequest {
        request_id: String::new(),
        spec: Some(fleet::job()),
    });
    let traceparent = format!("00-{TRACE}-{SPAN}-01").parse().unwrap();
    request.metadata_mut().insert("traceparent", traceparent);
    let created = jobs.create_job(request).await.unwrap().into_inner();
    created.job.unwrap().name
}

/// What was seen while the job ran.
struct Seen {
    /// Queries that have had no answer: for each, its alternatives, with what was said last.
    unanswered: BTreeMap<Vec<String>, String>,
    /// By role, the names of metrics that were exported, with their labels.
    exported: BTreeMap<&'static str, BTreeMap<String, BTreeSet<String>>>,
}

/// Watches the job to its end, and asks all queries again and again until they have been answered.
async fn look_on(fleet: &Fleet, prometheus: &Prometheus, leader: &str, job: &str) -> Seen {
    let mut queries: BTreeSet<Vec<String>> = BTreeSet::new();
    for query in queries::of_dashboard() {
        queries.extend(queries::parts(&query));
        queries.insert(vec![query]);
    }
    for expression in queries::of_alerts() {
        queries.extend(queries::parts(&expression));
        let answer: Value = serde_json::from_str(&prometheus.query(&expression).unwrap()).unwrap();
        assert_eq!(answer["status"], "success", "{expression}: {answer}");
    }
    let mut seen = Seen {
        unanswered: queries.into_iter().map(|q| (q, String::new())).collect(),
        exported: BTreeMap::new(),
    };
    let mut jobs = connect(leader).await;
    let mut over = false;
    // Once more after its end, for what is told last; but no longer, for jobs that are over are not told of.
    while !std::mem::replace(
        &mut over,
        seen.look(fleet, prometheus, &mut jobs, job).await,
    ) {}
    seen
}

impl Seen {
    /// Looks once; whether the job is over.
    async fn look(
        &mut self,
        fleet: &Fleet,
        prometheus: &Prometheus,
        jobs: &mut v1::job_service_client::JobServiceClient<tonic::transport::Channel>,
        job: &str,
    ) -> bool {
        self.unanswered.retain(|alternatives, said| {
            !alternatives.iter().any(|query| {
                *said = prometheus.query(query).unwrap();
                let answer: Value = serde_json::from_str(said).unwrap();
                assert_eq!(answer["status"], "success", "{query}: {answer}");
                let found = answer["data"]["result"].as_array();
                found.is_some_and(|found| !found.is_empty())
            })
        });
        for (role, _, page) in fleet.pages("/metrics") {
            note_exported(self.exported.entry(role).or_default(), &page);
        }
        // A watch is open meanwhile, and each look waits for something to have happened.
        let before = get(jobs, job).await;
        let moved = |now: &v1::Job| is_over(now) || now.progress != before.progress;
        is_over(&watch_until(jobs, job, moved).await)
    }

    fn assert_all_queries_were_answered(&self) {
        assert!(
            self.unanswered.is_empty(),
            "without an answer: {:#?}",
            self.unanswered
        );
    }

    /// Nothing is exported that is not in the tables, and nothing is in them that is not exported: no exceptions.
    fn assert_metrics_are_those_of_the_tables(&self) {
        for (role, table) in [
            ("coordinator", stoke_coordinator::metrics::METRICS),
            ("worker", stoke_worker::metrics::METRICS),
        ] {
            let mut expected: BTreeMap<String, BTreeSet<String>> =
                table.iter().map(labels_of).collect();
            expected.extend(
                [
                    "process_cpu_seconds_total",
                    "process_resident_memory_bytes",
                    "process_start_time_seconds",
                    "process_open_fds",
                ]
                .map(|name| (name.to_owned(), BTreeSet::new())),
            );
            assert_eq!(self.exported[role], expected, "{role}");
        }
    }
}

async fn get(
    jobs: &mut v1::job_service_client::JobServiceClient<tonic::transport::Channel>,
    name: &str,
) -> v1::Job {
    let request = v1::GetJobRequest { name: name.into() };
    jobs.get_job(request)
        .await
        .unwrap()
        .into_inner()
        .job
        .unwrap()
}

fn labels_of(metric: &Metric) -> (String, BTreeSet<String>) {
    let mut labels: BTreeSet<String> = metric
        .attributes
        .iter()
        .map(|a| a.replace('.', "_"))
        .collect();
    if metric.kind == Kind::Histogram {
        labels.insert("le".into());
    }
    (metric.prometheus_name(), labels)
}

/// Notes each metric of a page (by its TYPE), with the labels of its samples.
fn note_exported(exported: &mut BTreeMap<String, BTreeSet<String>>, page: &str) {
    let mut name = String::new();
    for line in page.lines() {
        if let Some(kind) = line.strip_prefix("# TYPE ") {
            name = kind.split(' ').next().unwrap().to_owned();
        } else if !line.starts_with('#') && line.starts_with(&name) {
            let labels = exported.entry(name.clone()).or_default();
            let inside = line
                .split_once('{')
                .and_then(|(_, rest)| rest.rsplit_once('}'));
            for label in inside.iter().flat_map(|(inside, _)| inside.split(',')) {
                labels.insert(label.split('=').next().unwrap().to_owned());
            }
        }
    }
}

/// Every span of the job's work is in the caller's trace, and its parents lead to the caller's span.
async fn assert_batches_descend_from_the_caller(collector: &Collector) {
    let batches = PLANNED / 100 / 2;
    let all = || {
        let spans = collector.spans();
        let mut counts: BTreeMap<&str, u64> = BTreeMap::new();
        for span in spans.iter().filter(|span| hex(&span.trace) == TRACE) {
            *counts.entry(span.name.as_str()).or_default() += 1;
        }
        for name in [
            "JobService/CreateJob",
            "read source",
            "WorkerService/SendSource",
            "prepare loaders",
            "rank",
            "store plan",
            "probe",
        ] {
            anyhow::ensure!(counts.contains_key(name), "no span {name} in {counts:?}");
        }
        for name in ["batch", "query", "write"] {
            anyhow::ensure!(
                counts.get(name).is_some_and(|n| *n >= batches),
                "too few {name} in {counts:?}"
            );
        }
        Ok(spans)
    };
    let spans =
        tokio::task::block_in_place(|| wait_for("the spans to arrive", PATIENCE, all)).unwrap();
    let ours: BTreeMap<&[u8], &Arrived> = spans
        .iter()
        .filter(|span| hex(&span.trace) == TRACE)
        .map(|span| (&span.id[..], span))
        .collect();
    for span in ours.values() {
        let mut at = *span;
        // A chain without an end would be a circle.
        for _ in 0..10 {
            match ours.get(&at.parent[..]) {
                Some(parent) => at = parent,
                None => break,
            }
        }
        assert_eq!(hex(&at.parent), SPAN, "{span:?} leads to {at:?}");
        let role = match span.name.as_str() {
            "JobService/CreateJob" | "WorkerService/SendSource" | "rank" | "store plan" => {
                "coordinator"
            }
            _ => "worker",
        };
        assert!(span.role == role || span.name.contains('/'), "{span:?}");
    }
    for span in ours
        .values()
        .filter(|span| ["query", "write"].contains(&span.name.as_str()))
    {
        assert_eq!(ours[&span.parent[..]].name, "batch", "{span:?}");
    }
    let workers: BTreeSet<&str> = ours
        .values()
        .filter(|span| span.name == "batch")
        .map(|span| span.instance.as_str())
        .collect();
    assert_eq!(workers, ["w1", "w2"].into());
}

fn assert_the_command_line_goes_on_with_its_trace(collector: &Collector, leader: &str, job: &str) {
    let status = Program::new(env!("CARGO_BIN_EXE_stoke")).unwrap();
    let status = status
        .args(["status", job, "--coordinator", leader])
        .env("TRACEPARENT", format!("00-{OTHER_TRACE}-{SPAN}-01"))
        .start()
        .unwrap();
    assert!(status.wait(PATIENCE).unwrap().success());
    let arrived = || {
        let spans = collector.spans();
        let found = spans.iter().any(|span| {
            span.name == "JobService/GetJob"
                && hex(&span.trace) == OTHER_TRACE
                && hex(&span.parent) == SPAN
        });
        anyhow::ensure!(found, "{:?}", spans.last());
        Ok(())
    };
    wait_for("the call's span", PATIENCE, arrived).unwrap();
}

fn assert_metrics_arrive_over_otlp(collector: &Collector) {
    let wanted = [
        ("coordinator", "stoke.coordinator.leads"),
        ("worker", "stoke.worker.origin.queries"),
        ("worker", "process.cpu"),
    ];
    let all = || {
        let arrived = collector.metrics();
        for (role, name) in wanted {
            anyhow::ensure!(
                arrived.contains(&(role.to_owned(), name.to_owned())),
                "no {name} in {arrived:?}"
            );
        }
        Ok(())
    };
    wait_for("metrics at the collector", PATIENCE, all).unwrap();
}

/// All lines of workers have `worker`, those about the job also `job`; those of coordinators have `coordinator`.
fn assert_lines_about_the_job_say_so(fleet: &Fleet, job: &str) {
    for process in &fleet.processes {
        let log = process.program.log().unwrap();
        let lines: Vec<Value> = log
            .lines()
            .map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}")))
            .collect();
        let about: Vec<&Value> = lines
            .iter()
            .filter(|line| line.to_string().contains(job))
            .collect();
        for line in &about {
            assert_eq!(line["job"], job, "{line}");
        }
        if process.role == "worker" {
            let worked = about.iter().any(|line| line["message"] == "works on a job");
            assert!(worked, "{log}");
            let name = about[0]["worker"].as_str().unwrap();
            assert!(name.starts_with('w'), "{name}");
            assert!(about.iter().all(|line| line["worker"] == name), "{log}");
            let work = lines
                .iter()
                .filter(|line| line["target"].as_str().unwrap().starts_with("stoke_"));
            assert!(
                work.clone().count() > 1 && work.clone().all(|line| line["worker"] == name),
                "{log}"
            );
        } else {
            let own = lines.iter().filter(|line| {
                line["target"]
                    .as_str()
                    .unwrap()
                    .starts_with("stoke_coordinator")
            });
            assert!(
                own.clone().all(|line| line["coordinator"].is_string()),
                "{log}"
            );
        }
    }
}

/// The standby has nobody to send to. (It has tried each half second since it started.)
fn assert_a_collector_that_is_not_there_is_said_once(fleet: &Fleet) {
    let standby = &fleet.processes[1].program;
    let log = standby.log().unwrap();
    let said = log
        .lines()
        .filter(|line| line.contains("cannot send to the collector") && line.contains("metrics"));
    assert_eq!(said.count(), 1, "{log}");
}

fn assert_no_secret_is_told(fleet: &Fleet) {
    for process in &fleet.processes {
        let told = process.program.log().unwrap() + &http_get(process.http, "/metrics").unwrap().1;
        for secret in [CACHE_PASSWORD, ORIGIN_PASSWORD] {
            assert!(!told.contains(secret), "{told}");
        }
    }
}

/// What cannot be told is warned of, but not with what may be a secret.
fn assert_who_is_given_a_collector_that_is_none_works_all_the_same(fleet: &Fleet) {
    let address = format!("http://stoke:{COLLECTOR_PASSWORD}@collector:4317");
    let program = fleet.another_worker(("OTEL_EXPORTER_OTLP_ENDPOINT", address.as_ref()));
    let log = program.log().unwrap();
    for what in ["traces", "metrics"] {
        let warning = format!("sends no {what}: OTEL_EXPORTER_OTLP_ENDPOINT is no address");
        assert!(log.contains(&warning), "{log}");
    }
    assert!(!log.contains(COLLECTOR_PASSWORD), "{log}");
}

/// All say why they are not ready, be they leading, standing by or working; and they get ready again.
fn assert_unready_without_etcd(fleet: &Fleet) {
    fleet.etcd.stop().unwrap();
    let reasons = fleet.wait_for_status("/readyz", 503);
    assert!(
        reasons.iter().all(|reason| reason.len() > 20),
        "{reasons:?}"
    );
    let alive = fleet.pages("/healthz");
    assert!(
        alive.iter().all(|(_, status, _)| *status == 200),
        "{alive:?}"
    );
    fleet.etcd.cont().unwrap();
    fleet.wait_for_status("/readyz", 200);
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
