//! Guards: what workers and Prometheus tell of a resource's health, and what becomes of its budget and its jobs.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use stoke_coordinator::prometheus::{Query, Server};
use stoke_coordinator::{Guarding, Settings};
use stoke_core::guard::{Action, GuardSpec, Policy, Signal, Threshold};
use stoke_core::ledger::{Cap, Ledger};
use stoke_core::names::Resource;
use stoke_core::progress::Tally;
use stoke_core::records::{Checkpoint, Guards, Vigil, keys};
use stoke_proto::v1::{self, JobState};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Code;

use super::cluster::{Cluster, Served, fault, impatient, named, settings, spec, until, worker};

const SHOP: &str = "origin/shop";
/// What the only budget is, in thousandths of a query a second.
const ASKED: u64 = 20_000;
/// For what must not happen during a test.
const NEVER: Duration = Duration::from_secs(3600);
const SECOND: Duration = Duration::from_secs(1);

fn shop() -> Resource {
    SHOP.parse().unwrap()
}

/// Bad above 200 ms or 10, good up to 100 ms or 5; at once.
fn guard(signal: Signal, action: Action) -> GuardSpec {
    let (trigger, clear) = match signal {
        Signal::Latency { .. } => (0.2, 0.1),
        _ => (10.0, 5.0),
    };
    GuardSpec {
        name: "g".parse().unwrap(),
        signal,
        threshold: Threshold::Above { trigger, clear },
        action,
        sustained: Duration::ZERO,
        calm: Duration::ZERO,
        stale_after: NEVER,
    }
}

fn latency() -> Signal {
    Signal::Latency {
        permille: 990,
        window: SECOND,
    }
}

fn lag() -> Signal {
    Signal::Probe { name: "lag".into() }
}

const SLOW: Action = Action::Slow { brake: Some(0.4) };
const PAUSE: Action = Action::Pause { abort_after: None };

fn guarded_by(name: &str, guards: Vec<GuardSpec>, query: Option<Query>) -> Settings {
    let queries = query.map(|query| ("g".parse().unwrap(), query));
    let guarding = Guarding {
        policy: Policy {
            floor_permille: 50,
            guards,
        },
        queries: queries.into_iter().collect(),
    };
    Settings {
        guards: [(shop(), guarding)].into(),
        ..impatient(settings(name))
    }
}

/// What a fake worker tells.
#[derive(Clone, Debug, Default)]
struct Says {
    /// How long its queries take, in milliseconds; 0: it has none.
    millis: u64,
    probe: Option<Result<f64, String>>,
    /// It tells nothing at all.
    silent: bool,
}

/// A worker that is attached to a coordinator as a real one would be, and tells what the test says.
struct Attached(Arc<Mutex<Says>>);

impl Attached {
    fn to(served: &Served, name: &str, says: Says) -> Self {
        let says = Arc::new(Mutex::new(says));
        let (told, name, mut workers) =
            (Arc::clone(&says), name.to_owned(), served.workers.clone());
        tokio::spawn(async move {
            let (send, receive) = tokio::sync::mpsc::channel(1);
            let answered = workers.attach(ReceiverStream::new(receive)).await;
            let mut hints = answered.unwrap().into_inner();
            tokio::spawn(async move { while let Ok(Some(_)) = hints.message().await {} });
            for number in 1.. {
                let says = told.lock().unwrap().clone();
                if !says.silent && send.send(report(&name, number, &says)).await.is_err() {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        });
        Self(says)
    }

    fn say(&self, change: impl FnOnce(&mut Says)) {
        change(&mut self.0.lock().unwrap());
    }
}

fn report(worker: &str, number: u64, says: &Says) -> v1::AttachRequest {
    let window = v1::HealthWindow {
        number,
        latencies: vec![v1::LatencyCount {
            micros: says.millis * 1000,
            count: 100,
        }],
        ..v1::HealthWindow::default()
    };
    let probe = says.probe.clone().map(|outcome| v1::ProbeReading {
        name: "lag".into(),
        number,
        outcome: Some(match outcome {
            Ok(value) => v1::probe_reading::Outcome::Value(value),
            Err(error) => v1::probe_reading::Outcome::Error(error),
        }),
    });
    v1::AttachRequest {
        worker: worker.into(),
        uses: vec![v1::ResourceUse {
            resource: SHOP.into(),
            queries: number * 10,
            in_flight: 1,
        }],
        health: vec![v1::ResourceHealth {
            resource: SHOP.into(),
            windows: (says.millis > 0).then_some(window).into_iter().collect(),
            probes: probe.into_iter().collect(),
            brake_permille: 500,
        }],
        ..v1::AttachRequest::default()
    }
}

async fn budget(served: &Served) -> v1::Budget {
    let request = v1::GetBudgetRequest {
        resource: SHOP.into(),
    };
    let got = served.budgets.clone().get_budget(request).await;
    got.unwrap().into_inner().budget.unwrap()
}

fn target(budget: &v1::Budget) -> u64 {
    budget.target.unwrap().qps_milli
}

/// Waits until the budget is as the test wants it.
async fn until_budget(
    served: &Served,
    what: &str,
    fits: impl Fn(&v1::Budget) -> bool,
) -> v1::Budget {
    until(what, async || {
        let budget = budget(served).await;
        fits(&budget).then_some(budget)
    })
    .await
}

async fn set(served: &Served, qps: u64, lasts: Option<i64>) -> Result<v1::Budget, tonic::Status> {
    let request = v1::SetBudgetRequest {
        resource: SHOP.into(),
        target: Some(v1::Allowance {
            qps_milli: qps * 1000,
            ..v1::Allowance::default()
        }),
        lasts: lasts.map(|seconds| prost_types::Duration { seconds, nanos: 0 }),
        ..v1::SetBudgetRequest::default()
    };
    let set = served.budgets.clone().set_budget(request).await?;
    Ok(set.into_inner().budget.unwrap())
}

async fn pause(served: &Served, job: &str, holder: &str) -> Result<(), tonic::Status> {
    let request = v1::PauseJobRequest {
        name: job.into(),
        holder: holder.into(),
        reason: String::new(),
    };
    served.jobs.clone().pause_job(request).await.map(drop)
}

async fn resume(served: &Served, job: &str, holder: &str) -> Result<(), tonic::Status> {
    let request = v1::ResumeJobRequest {
        name: job.into(),
        holder: holder.into(),
    };
    served.jobs.clone().resume_job(request).await.map(drop)
}

fn slow_queries() -> Says {
    Says {
        millis: 300,
        ..Says::default()
    }
}

fn probes(value: f64) -> Says {
    Says {
        probe: Some(Ok(value)),
        ..Says::default()
    }
}

#[tokio::test]
async fn a_slow_origin_gets_less_down_to_the_floor_and_more_again_once_it_is_well() {
    let config = guarded_by("c1", vec![guard(latency(), SLOW)], None);
    let (cluster, leader) = Cluster::led_with(config).await;
    let worker = Attached::to(&leader, "w1", slow_queries());
    let job = leader.running(&cluster, 10).await;
    let floored = |budget: &v1::Budget| target(budget) == ASKED / 20;
    let slowed = until_budget(&leader, "the floor is reached", floored).await;
    assert_eq!(slowed.asked.unwrap().qps_milli, ASKED);
    let reason = "guard g slows: p99 300 ms over 1 s, above 200 ms";
    assert_eq!(slowed.reasons, [reason]);
    let [guard] = &slowed.guards[..] else {
        panic!("{slowed:?}")
    };
    assert_eq!(guard.state(), v1::GuardState::Acting);
    assert!((guard.value.unwrap() - 0.3).abs() < 0.001, "{guard:?}");
    let shown = leader.get(&job.name).await.slowed;
    assert_eq!(shown, [format!("{SHOP} at 1/s of 20/s: {reason}")]);
    let [share] = &slowed.shares[..] else {
        panic!("{slowed:?}")
    };
    assert_eq!(share.brake_permille, Some(500));
    let used = |budget: &v1::Budget| budget.shares[0].used_milli.is_some_and(|used| used > 0);
    until_budget(&leader, "what it uses is known", used).await;
    let vigil = cluster.read::<Vigil>(&keys::vigil(&shop())).await;
    let (vigil, _) = vigil.unwrap();
    assert_eq!((vigil.keeper.as_str(), vigil.canaries), ("w1", false));
    assert_eq!(vigil.latency_max_micros, Some(400_000));

    // What is asked for meanwhile counts once guards leave so much of it.
    let raised = set(&leader, 40, None).await.unwrap();
    assert_eq!(raised.asked.unwrap().qps_milli, 40_000);
    assert!(target(&raised) <= ASKED / 20, "{raised:?}");
    worker.say(|says| says.millis = 50);
    let recovered = |budget: &v1::Budget| target(budget) == 40_000;
    let well = until_budget(&leader, "all of it is back", recovered).await;
    assert!(well.reasons.is_empty(), "{well:?}");
    until("nothing is recorded any more", async || {
        let record = cluster.read::<Guards>(&keys::guards(&shop())).await;
        record.is_none().then_some(())
    })
    .await;
    assert!(leader.get(&job.name).await.slowed.is_empty());
}

#[tokio::test]
async fn a_guard_that_pauses_holds_a_job_that_is_being_planned_too() {
    let config = guarded_by("c1", vec![guard(lag(), PAUSE)], None);
    let (_cluster, leader) = Cluster::led_with(config).await;
    let job = leader.create(spec(vec![named()])).await.unwrap().name;
    leader.until_it_is(&job, JobState::Planning).await;
    let worker = Attached::to(&leader, "w1", probes(12.0));
    let held = leader.until_it_is(&job, JobState::Paused).await;
    assert_eq!(held.holds[0].holder, "guard/origin/shop/g");
    worker.say(|says| says.probe = Some(Ok(1.0)));
    leader.until_it_is(&job, JobState::Planning).await;
}

#[tokio::test]
async fn a_guard_that_pauses_holds_jobs_until_it_is_clear_and_operators_hold_for_themselves() {
    let config = guarded_by("c1", vec![guard(lag(), PAUSE)], None);
    let (cluster, leader) = Cluster::led_with(config).await;
    let job = leader.running(&cluster, 10).await.name;
    let worker = Attached::to(&leader, "w1", probes(12.0));
    let held = leader.until_it_is(&job, JobState::Paused).await;
    let holds: Vec<_> = held
        .holds
        .into_iter()
        .map(|h| (h.holder, h.reason))
        .collect();
    let holder = "guard/origin/shop/g";
    assert_eq!(
        holds,
        [(holder.to_owned(), "probe lag 12, above 10".to_owned())]
    );
    let reasons = until_budget(&leader, "the reason is shown", |b| !b.reasons.is_empty()).await;
    assert_eq!(reasons.reasons, ["guard g pauses: probe lag 12, above 10"]);
    // Whoever looks after it goes on with its probes, and has a share for them.
    let (vigil, _) = cluster.read::<Vigil>(&keys::vigil(&shop())).await.unwrap();
    assert!(!vigil.canaries, "a probe needs none");
    let cap = keys::cap(&shop(), &super::cluster::worker("w1"));
    let (cap, _) = cluster.read::<Cap>(&cap).await.unwrap();
    assert!(cap.share.allows_queries(), "{cap:?}");

    pause(&leader, &job, "").await.unwrap();
    worker.say(|says| says.probe = Some(Ok(1.0)));
    let held = until("only the operator holds", async || {
        let job = leader.get(&job).await;
        (job.holds.len() == 1).then_some(job)
    })
    .await;
    assert_eq!(
        (held.state(), held.holds[0].holder.as_str()),
        (JobState::Paused, "operator")
    );
    worker.say(|says| says.probe = Some(Ok(12.0)));
    until("both hold", async || {
        (leader.get(&job).await.holds.len() == 2).then_some(())
    })
    .await;
    resume(&leader, &job, "").await.unwrap();
    let still = leader.get(&job).await;
    assert_eq!((still.state(), still.holds.len()), (JobState::Paused, 1));
    // Nobody lifts a guard's hold, or holds in its name.
    let refused = resume(&leader, &job, holder).await.unwrap_err();
    assert_eq!(fault(&refused), (Code::InvalidArgument, "holder".into()));
    let refused = pause(&leader, &job, holder).await.unwrap_err();
    assert_eq!(fault(&refused), (Code::InvalidArgument, "holder".into()));
    worker.say(|says| says.probe = Some(Ok(1.0)));
    leader.until_it_is(&job, JobState::Running).await;
}

#[tokio::test]
async fn a_guard_of_queries_that_pauses_has_canaries_sent_by_which_it_sees_the_end() {
    let config = guarded_by("c1", vec![guard(latency(), PAUSE)], None);
    let (cluster, leader) = Cluster::led_with(config).await;
    let job = leader.running(&cluster, 10).await.name;
    let worker = Attached::to(&leader, "w1", slow_queries());
    leader.until_it_is(&job, JobState::Paused).await;
    until("there are canaries", async || {
        let (vigil, _) = cluster.read::<Vigil>(&keys::vigil(&shop())).await?;
        vigil.canaries.then_some(())
    })
    .await;
    worker.say(|says| says.millis = 50);
    leader.until_it_is(&job, JobState::Running).await;
}

#[tokio::test]
async fn a_guard_that_is_configured_no_more_lets_go() {
    let config = guarded_by("c1", vec![guard(lag(), PAUSE)], None);
    let (cluster, first) = Cluster::led_with(config).await;
    let job = first.running(&cluster, 10).await.name;
    let _worker = Attached::to(&first, "w1", probes(12.0));
    first.until_it_is(&job, JobState::Paused).await;
    first.coordinator.stop().await;
    let second = cluster.start(impatient(settings("c2"))).await.unwrap();
    second.until_it_is(&job, JobState::Running).await;
    until("its records are gone", async || {
        let vigil = cluster.read::<Vigil>(&keys::vigil(&shop())).await;
        let guards = cluster.read::<Guards>(&keys::guards(&shop())).await;
        (vigil.is_none() && guards.is_none()).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_guard_aborts_jobs_after_a_second_look_and_the_next_job_runs() {
    let config = guarded_by("c1", vec![guard(lag(), Action::Abort)], None);
    let (cluster, leader) = Cluster::led_with(config).await;
    let job = leader.running(&cluster, 10).await.name;
    let worker = Attached::to(&leader, "w1", Says::default());
    // One bad reading, and nothing more.
    let looking = |budget: &v1::Budget| budget.guards[0].state() == v1::GuardState::Looking;
    worker.say(|says| says.probe = Some(Ok(12.0)));
    until_budget(&leader, "it looks once more", looking).await;
    let reason = "guard/origin/shop/g: probe lag 12, above 10";
    let aborting = leader.until_it_is(&job, JobState::Aborting).await;
    assert!(aborting.reason.starts_with(reason), "{aborting:?}");
    // The worker confirms at once, and the next job comes before the guard looks again.
    let stopped = Tally::default();
    let stop = |checkpoint: &mut Checkpoint| checkpoint.stopped = true;
    cluster.checkpoint(&job, "w1", stopped, stop).await;
    let ended = leader.until_it_is(&job, JobState::Aborted).await;
    assert_eq!(ended.reason, reason);
    worker.say(|says| says.probe = Some(Ok(1.0)));
    let next = leader.running(&cluster, 10).await;
    assert_eq!(next.state(), JobState::Running);
}

#[tokio::test]
async fn a_worker_that_says_nothing_and_a_probe_that_fails_are_bad() {
    let silence = GuardSpec {
        stale_after: SECOND,
        ..guard(latency(), SLOW)
    };
    let config = guarded_by("c1", vec![silence], None);
    let (cluster, leader) = Cluster::led_with(config).await;
    let worker = Attached::to(&leader, "w1", Says::default());
    leader.running(&cluster, 10).await;
    let reads = |budget: &v1::Budget| {
        let reading = budget.guards.first().map(|guard| guard.reading.as_str());
        reading == Some("p99: no queries over 1 s")
    };
    let idle = until_budget(&leader, "no demand is seen", reads).await;
    assert_eq!(target(&idle), ASKED, "no demand is no missing signal");
    worker.say(|says| says.silent = true);
    let slowed = until_budget(&leader, "it is slowed", |budget| target(budget) < ASKED).await;
    let reason = "guard g slows: p99: no report of worker w1 for 1 s";
    assert_eq!(slowed.reasons, [reason]);

    let config = guarded_by("c1", vec![guard(lag(), PAUSE)], None);
    let (cluster, leader) = Cluster::led_with(config).await;
    let failing = Says {
        probe: Some(Err("it returned no row".into())),
        ..Says::default()
    };
    let _worker = Attached::to(&leader, "w1", failing);
    let job = leader.running(&cluster, 10).await.name;
    let held = leader.until_it_is(&job, JobState::Paused).await;
    assert_eq!(held.holds[0].reason, "probe lag: it returned no row");
}

#[tokio::test]
async fn a_new_leader_goes_on_from_the_lowered_target() {
    let guards = vec![guard(latency(), SLOW)];
    let (cluster, first) = Cluster::led_with(guarded_by("c1", guards.clone(), None)).await;
    let worker = Attached::to(&first, "w1", slow_queries());
    first.running(&cluster, 10).await;
    let slowed = until_budget(&first, "it is slowed", |budget| target(budget) < ASKED).await;
    worker.say(|says| says.millis = 0);
    first.coordinator.stop().await;
    let left = cluster.read::<Ledger>(&keys::ledger(&shop())).await;
    let left = left.unwrap().0.target.rate_milli;
    assert!(left <= target(&slowed), "it may have sunk further");
    // It hears of nobody, for now; another leader would give all that is asked at its first look.
    let second = cluster.start(guarded_by("c2", guards, None)).await.unwrap();
    second.until_it_leads().await;
    until("its guards have looked", async || {
        let budget = budget(&second).await;
        (!budget.guards.is_empty()).then_some(())
    })
    .await;
    for _ in 0..50 {
        assert_eq!(target(&budget(&second).await), left);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(budget(&second).await.asked.unwrap().qps_milli, ASKED);
    // It rises from there, and nowhere else, once it hears that all is well.
    let well = Says {
        millis: 50,
        ..Says::default()
    };
    let _worker = Attached::to(&second, "w1", well);
    let next = until_budget(&second, "it rises", |budget| target(budget) > left).await;
    assert!(target(&next) <= left + 3 * ASKED / 20, "{next:?}");
}

/// A Prometheus that answers what the test says; `None`: nothing, for good.
async fn prometheus(answer: &Arc<Mutex<Option<String>>>) -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (answer, asked) = (Arc::clone(answer), Arc::new(Mutex::new(Vec::new())));
    let heard = Arc::clone(&asked);
    tokio::spawn(async move {
        let mut open = Vec::new();
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                // Whoever asks may have given up.
                let Ok(byte) = stream.read_u8().await else {
                    break;
                };
                request.push(byte);
            }
            heard
                .lock()
                .unwrap()
                .push(String::from_utf8(request).unwrap());
            let answer = answer.lock().unwrap().clone();
            match answer {
                Some(answer) => drop(stream.write_all(answer.as_bytes()).await),
                None => open.push(stream),
            }
        }
    });
    (format!("http://{address}"), asked)
}

fn http(status: &str, body: &str) -> Option<String> {
    let length = body.len();
    Some(format!(
        "HTTP/1.1 {status}\r\nContent-Length: {length}\r\n\r\n{body}"
    ))
}

fn vector(values: &[&str]) -> Option<String> {
    let sample = |value: &&str| format!(r#"{{"metric":{{}},"value":[1,"{value}"]}}"#);
    let samples: Vec<String> = values.iter().map(sample).collect();
    let samples = samples.join(",");
    let data = format!(r#"{{"resultType":"vector","result":[{samples}]}}"#);
    http(
        "200 OK",
        &format!(r#"{{"status":"success","data":{data}}}"#),
    )
}

#[tokio::test]
async fn prometheus_is_asked_and_whatever_is_not_one_number_in_time_is_bad() {
    let answer = Arc::new(Mutex::new(vector(&["3"])));
    let (url, asked) = prometheus(&answer).await;
    let query = Query {
        server: Server::parse(&url.replace("//", "//me:pw@")).unwrap(),
        text: "max(active{a=\"b c\"})".into(),
        every: Duration::from_millis(500),
    };
    let guards = vec![guard(Signal::Prometheus, PAUSE)];
    let (cluster, leader) = Cluster::led_with(guarded_by("c1", guards, Some(query))).await;
    let job = leader.running(&cluster, 10).await.name;
    let reads = async |text: &str| {
        until_budget(&leader, text, |budget| {
            let reading = budget.guards.first().map(|guard| guard.reading.clone());
            reading.is_some_and(|reading| reading == format!("prometheus{text}"))
        })
        .await
    };
    reads(" 3").await;
    assert_eq!(leader.get(&job).await.state(), JobState::Running);
    let request = asked.lock().unwrap().pop().unwrap();
    assert!(
        request.starts_with(
            "GET /api/v1/query?query=max%28active%7Ba%3D%22b%20c%22%7D%29 HTTP/1.1\r\n"
        ),
        "{request}"
    );
    assert!(
        request.contains("authorization: Basic bWU6cHc=\r\n"),
        "{request}"
    );

    let bad = [
        (vector(&[]), ": it gives no value"),
        (
            vector(&["1", "2"]),
            ": it gives 2 values, not one: aggregate them",
        ),
        (vector(&["NaN"]), ": its value is NaN"),
        (http("200 OK", "hello"), ": its answer is not Prometheus'"),
        (http("503 Service Unavailable", ""), ": it answers 503"),
        (None, ": no answer within its interval of 500ms"),
        (vector(&["11"]), " 11, above 10"),
    ];
    for (says, reading) in bad {
        *answer.lock().unwrap() = says;
        reads(reading).await;
        leader.until_it_is(&job, JobState::Paused).await;
        *answer.lock().unwrap() = vector(&["3"]);
        leader.until_it_is(&job, JobState::Running).await;
    }
}

#[tokio::test]
async fn what_is_asked_for_a_while_ends_and_what_was_asked_before_comes_back() {
    let (cluster, leader) = Cluster::with_leader().await;
    until("the budget is there", async || {
        let ledger = cluster.read::<Ledger>(&keys::ledger(&shop())).await;
        ledger.map(drop)
    })
    .await;
    set(&leader, 30, None).await.unwrap();
    for absurd in [0, -5, 30 * 86_400 + 1, i64::MAX] {
        let refused = set(&leader, 5, Some(absurd)).await.unwrap_err();
        assert_eq!(fault(&refused), (Code::InvalidArgument, "lasts".into()));
    }
    let short = set(&leader, 5, Some(3600)).await.unwrap();
    let shown = (target(&short), short.lasts.unwrap().seconds);
    assert_eq!(
        (shown, short.then.unwrap().qps_milli),
        ((5000, 3600), 30_000)
    );
    // Set again, it is what was asked for good that comes back.
    let again = set(&leader, 7, Some(1)).await.unwrap();
    assert_eq!(
        (target(&again), again.then.unwrap().qps_milli),
        (7000, 30_000)
    );
    let back = until_budget(&leader, "it ends", |budget| target(budget) == 30_000).await;
    assert_eq!(
        (back.lasts, back.then, back.asked.unwrap().qps_milli),
        (None, None, 30_000)
    );
    // Set for good, nothing ends.
    set(&leader, 5, Some(1)).await.unwrap();
    let good = set(&leader, 6, None).await.unwrap();
    assert_eq!((good.lasts, target(&good)), (None, 6000));

    // It ends though another leads by then.
    set(&leader, 9, Some(2)).await.unwrap();
    leader.coordinator.stop().await;
    let second = cluster.start(settings("c2")).await.unwrap();
    second.until_it_leads().await;
    assert_eq!(target(&budget(&second).await), 9000);
    until_budget(&second, "it ends", |budget| target(budget) == 6000).await;
}

#[tokio::test]
async fn absurd_reports_harm_nobody() {
    let signal = Signal::Latency {
        permille: 990,
        window: 10 * SECOND,
    };
    let config = guarded_by("c1", vec![guard(signal, SLOW)], None);
    let (cluster, leader) = Cluster::led_with(config).await;
    leader.running(&cluster, 10).await;
    let most = v1::LatencyCount {
        micros: u64::MAX,
        count: u64::MAX,
    };
    let window = |number| v1::HealthWindow {
        number,
        latencies: vec![most; if number == 0 { 5000 } else { 20 }],
        errors: u64::MAX,
        overdue: u64::MAX,
        oldest_micros: u64::MAX,
    };
    let absurd = v1::ResourceHealth {
        resource: SHOP.into(),
        windows: (0..100).map(window).collect(),
        probes: vec![
            v1::ProbeReading {
                name: "unknown".into(),
                number: u64::MAX,
                outcome: None,
            };
            1000
        ],
        brake_permille: u32::MAX,
    };
    let elsewhere = v1::ResourceHealth {
        resource: "nonsense".into(),
        ..absurd.clone()
    };
    let report = v1::AttachRequest {
        worker: worker("w1").to_string(),
        health: vec![absurd, elsewhere],
        ..v1::AttachRequest::default()
    };
    let sent = leader
        .workers
        .clone()
        .attach(tokio_stream::iter([report]))
        .await;
    sent.unwrap();
    let slowed = until_budget(&leader, "it is bad", |budget| target(budget) < ASKED).await;
    assert!(
        slowed.reasons[0].contains("s over 10 s, above 200 ms"),
        "{slowed:?}"
    );
}
