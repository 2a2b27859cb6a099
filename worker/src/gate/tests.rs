//! The gate under tokio's paused clock.

use super::*;
use std::collections::BTreeMap;
use stoke_store::clock::TokioClock;
use tokio::time::Instant;

use crate::permit::{Permit as _, Stopped};

fn job() -> JobName {
    "j".parse().unwrap()
}

fn gate() -> (Arc<Gate>, Arc<TokioClock>) {
    let clock = Arc::new(TokioClock::new());
    (
        Gate::new(
            "origin/shop".parse().unwrap(),
            Arc::clone(&clock) as Arc<dyn Clock>,
        ),
        clock,
    )
}

fn grant(rate: u64, until: Moment) -> Allowed {
    let share = Share {
        rate_milli: rate * 1000,
        burst: 10,
        in_flight: 2,
        rows: Share::ANY_ROWS,
    };
    let permits = BTreeMap::from([(job(), until)]);
    Allowed {
        grant: Grant {
            share,
            deadline: until,
            permits,
        },
        unlimited: false,
    }
}

/// When each of `count` queries goes out, in seconds from now.
async fn times(permit: &ClientPermit, count: usize) -> Vec<f64> {
    let start = Instant::now();
    let mut times = Vec::new();
    for _ in 0..count {
        permit.pass(1).await.unwrap();
        times.push(start.elapsed().as_secs_f64());
    }
    times
}

#[tokio::test(start_paused = true)]
async fn b2_no_second_sees_more_queries_than_the_granted_rate_where_several_leave_at_once() {
    for (rate, at_once) in [(5, 1), (100, 5), (700, 35)] {
        let (gate, clock) = gate();
        gate.allow(grant(rate, clock.now() + Duration::from_secs(1000)));
        let permit = gate.permit(job(), CancellationToken::new());
        assert_eq!(permit.at_once(), at_once);
        let (start, mut times) = (Instant::now(), Vec::new());
        for _ in 0..6 * rate / u64::from(at_once) {
            permit.pass(at_once).await.unwrap();
            times.extend((0..at_once).map(|_| start.elapsed()));
        }
        for (n, first) in times.iter().enumerate() {
            let until = *first + Duration::from_secs(1);
            let within = times[n..].iter().take_while(|time| **time < until);
            let within = within.count() as u64;
            assert!(within <= rate, "{within} of {rate} from {first:?}");
        }
    }
    let cache = Gate::new("cache/main".parse().unwrap(), Arc::new(TokioClock::new()));
    let permit = cache.permit(job(), CancellationToken::new());
    assert_eq!(permit.at_once(), u32::MAX, "writes go out as they did");
}

#[tokio::test(start_paused = true)]
async fn b2_no_second_sees_more_queries_than_the_granted_rate_and_nearly_all_are_used() {
    for rate in [1, 3, 10, 49, 100, 700, 2000] {
        let (gate, clock) = gate();
        gate.allow(grant(rate, clock.now() + Duration::from_secs(1000)));
        let permit = gate.permit(job(), CancellationToken::new());
        let rate = usize::try_from(rate).unwrap();
        let times = times(&permit, rate * 20).await;
        for (n, first) in times.iter().enumerate() {
            let within = times[n..].iter().take_while(|t| **t < first + 1.0).count();
            assert!(within <= rate, "{within} in a second, {rate} granted");
        }
        let took = times.last().unwrap();
        assert!(
            *took < 20.0 / 0.90,
            "{rate} a second: 20 seconds' worth took {took}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn the_first_of_a_process_that_has_a_share_sends_at_once_and_no_second_sees_more_than_all_have()
 {
    const RATE: u64 = 10;
    let clock: Arc<dyn Clock> = Arc::new(TokioClock::new());
    let untouched = Untouched::default();
    let gate = || {
        Gate::with(
            Some(untouched.clone()),
            "origin/shop".parse().unwrap(),
            Arc::clone(&clock),
        )
    };
    let (first, second) = (gate(), gate());
    let until = clock.now() + Duration::from_secs(1000);
    let start = Instant::now();
    first.allow(grant(RATE, until));
    let of_first = first.permit(job(), CancellationToken::new());
    let mut all = times(&of_first, 8).await;
    assert!(all[0] < 0.2, "it did not wait: {all:?}");
    // The other gets all of it.
    first.allow(grant(0, until));
    second.allow(grant(RATE, until));
    let moved = start.elapsed().as_secs_f64();
    let of_second = second.permit(job(), CancellationToken::new());
    let then = times(&of_second, 20).await;
    assert!(
        then[0] >= 1.0,
        "it waited until nothing of the first counts: {then:?}"
    );
    all.extend(then.iter().map(|at| at + moved));
    for (n, from) in all.iter().enumerate() {
        let within = all[n..].iter().take_while(|at| **at < from + 1.0).count();
        assert!(within as u64 <= RATE, "{within} in the second from {from}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_grant_that_lapsed_and_came_back_as_it_was_counts_as_a_new_one() {
    let (gate, clock) = gate();
    let until = |seconds| clock.now() + Duration::from_secs(seconds);
    gate.allow(grant(10, until(3)));
    let permit = gate.permit(job(), CancellationToken::new());
    times(&permit, 5).await;
    // Nobody renews it, and nobody looks: meanwhile it may be another's.
    tokio::time::sleep(Duration::from_secs(10)).await;
    gate.allow(grant(10, until(1000)));
    let then = times(&permit, 1).await;
    assert!(then[0] >= 1.0, "{then:?}");
}

#[tokio::test(start_paused = true)]
async fn many_that_wait_for_several_tokens_each_do_not_go_out_all_at_once() {
    let (gate, clock) = gate();
    gate.allow(grant(100, clock.now() + Duration::from_secs(1000)));
    let (start, (tell, mut told)) = (Instant::now(), tokio::sync::mpsc::unbounded_channel());
    for _ in 0..20 {
        let (permit, tell) = (gate.permit(job(), CancellationToken::new()), tell.clone());
        tokio::spawn(async move {
            permit.pass(50).await.unwrap();
            tell.send(start.elapsed().as_secs_f64()).unwrap();
        });
    }
    drop(tell);
    let mut times = Vec::new();
    while let Some(time) = told.recv().await {
        times.push(time);
    }
    let mut apart = times.windows(2).map(|pair| pair[1] - pair[0]);
    assert!(
        apart.all(|apart| apart > 0.49),
        "50 at 100 a second: {times:?}"
    );
    assert_eq!(times.len(), 20);
}

#[tokio::test(start_paused = true)]
async fn it_starts_empty_and_a_renewal_refills_nothing() {
    let (gate, clock) = gate();
    let permit = gate.permit(job(), CancellationToken::new());
    let (start, mut out) = (Instant::now(), 0);
    while start.elapsed() < Duration::from_secs(10) {
        gate.allow(grant(4, clock.now() + Duration::from_secs(5)));
        if tokio::time::timeout(Duration::from_millis(100), permit.pass(1))
            .await
            .is_ok()
        {
            out += 1;
        }
    }
    assert!(
        (33..=36).contains(&out),
        "10 seconds at 4 a second, less the first, let {out} out"
    );
}

#[tokio::test(start_paused = true)]
async fn nothing_goes_out_from_the_deadline_on() {
    let (gate, clock) = gate();
    gate.allow(grant(100, clock.now() + Duration::from_secs(2)));
    let permit = gate.permit(job(), CancellationToken::new());
    let mut out = 0;
    while tokio::time::timeout(Duration::from_secs(10), permit.pass(1))
        .await
        .is_ok()
    {
        out += 1;
    }
    assert!((90..=100).contains(&out), "{out}");
}

#[tokio::test(start_paused = true)]
async fn b4_a_withdrawn_permit_holds_what_waits_and_a_new_one_lets_it_go_on() {
    let (gate, clock) = gate();
    let until = clock.now() + Duration::from_secs(1000);
    let held = Allowed {
        grant: Grant {
            permits: BTreeMap::new(),
            ..grant(10, until).grant
        },
        unlimited: false,
    };
    gate.allow(grant(10, until));
    let permit = gate.permit(job(), CancellationToken::new());
    permit.pass(1).await.unwrap();
    gate.allow(held);
    assert!(
        tokio::time::timeout(Duration::from_secs(60), permit.pass(1))
            .await
            .is_err()
    );
    gate.allow(grant(10, until));
    assert!(
        tokio::time::timeout(Duration::from_secs(1), permit.pass(1))
            .await
            .is_ok()
    );
}

#[tokio::test(start_paused = true)]
async fn one_job_that_waits_for_its_permit_does_not_hold_another_up() {
    let (gate, clock) = gate();
    gate.allow(grant(10, clock.now() + Duration::from_secs(1000)));
    let other = gate.permit("other".parse().unwrap(), CancellationToken::new());
    let waiting = tokio::spawn(async move { other.pass(1).await });
    tokio::task::yield_now().await;
    let permit = gate.permit(job(), CancellationToken::new());
    assert!(
        tokio::time::timeout(Duration::from_secs(1), permit.pass(1))
            .await
            .is_ok()
    );
    assert!(!waiting.is_finished());
    waiting.abort();
}

#[tokio::test(start_paused = true)]
async fn a_stopped_job_waits_for_nothing() {
    let (gate, _) = gate();
    let stop = CancellationToken::new();
    let permit = gate.permit(job(), stop.clone());
    stop.cancel();
    assert_eq!(permit.pass(1).await, Err(Stopped));
    assert!(permit.enter().await.is_err());
}

#[tokio::test(start_paused = true)]
async fn places_in_flight_follow_the_grant_down_as_they_are_given_back() {
    let (gate, clock) = gate();
    let until = clock.now() + Duration::from_secs(1000);
    gate.allow(grant(10, until));
    let permit = gate.permit(job(), CancellationToken::new());
    let (first, second) = (permit.enter().await.unwrap(), permit.enter().await.unwrap());
    assert!(
        tokio::time::timeout(Duration::from_secs(1), permit.enter())
            .await
            .is_err()
    );
    let mut less = grant(10, until);
    less.grant.share.in_flight = 1;
    gate.allow(less.clone());
    drop(first);
    gate.allow(less);
    assert!(
        tokio::time::timeout(Duration::from_secs(1), permit.enter())
            .await
            .is_err()
    );
    drop(second);
    assert!(
        tokio::time::timeout(Duration::from_secs(1), permit.enter())
            .await
            .is_ok()
    );
}

/// As [`grant`], to these jobs.
fn grant_to(jobs: &[&str], rate: u64, until: Moment) -> Allowed {
    let mut allowed = grant(rate, until);
    let permits = jobs.iter().map(|job| (job.parse().unwrap(), until));
    allowed.grant.permits = permits.collect();
    allowed
}

/// Whose queries went out, in their order.
type Out = Arc<std::sync::Mutex<Vec<String>>>;

/// Sends as fast as it may, for this job, until aborted.
fn send(gate: &Arc<Gate>, job: &str, priority: u32, out: &Out) -> tokio::task::JoinHandle<()> {
    let permit = gate.permit(job.parse().unwrap(), CancellationToken::new());
    let (permit, job, out) = (
        permit.with_priority(priority),
        job.to_owned(),
        Arc::clone(out),
    );
    tokio::spawn(async move {
        while permit.pass(1).await.is_ok() {
            out.lock().unwrap().push(job.clone());
        }
    })
}

#[tokio::test(start_paused = true)]
async fn a_later_job_of_higher_priority_gets_every_token_and_the_lower_what_it_leaves() {
    let (gate, clock) = gate();
    let until = clock.now() + Duration::from_secs(1000);
    gate.allow(grant_to(&["low", "high"], 10, until));
    let out = Out::default();
    for _ in 0..5 {
        send(&gate, "low", 3, &out);
    }
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert!(out.lock().unwrap().len() > 30);
    out.lock().unwrap().clear();
    let high = send(&gate, "high", 4, &out);
    tokio::time::sleep(Duration::from_secs(5)).await;
    let sent = std::mem::take(&mut *out.lock().unwrap());
    assert!(
        sent.len() > 30 && sent.iter().all(|job| job == "high"),
        "{sent:?}"
    );
    // One that is not allowed to send leaves all of it, at once.
    gate.allow(grant_to(&["low"], 10, until));
    tokio::time::sleep(Duration::from_millis(250)).await;
    assert!(out.lock().unwrap().contains(&"low".to_owned()));
    gate.allow(grant_to(&["low", "high"], 10, until));
    tokio::time::sleep(Duration::from_secs(1)).await;
    high.abort();
    out.lock().unwrap().clear();
    tokio::time::sleep(Duration::from_secs(5)).await;
    let sent = std::mem::take(&mut *out.lock().unwrap());
    assert!(
        sent.len() > 30 && sent.iter().all(|job| job == "low"),
        "{sent:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn jobs_of_one_priority_take_turns_however_many_queries_each_has() {
    let (gate, clock) = gate();
    let until = clock.now() + Duration::from_secs(1000);
    gate.allow(grant_to(&["many", "one"], 10, until));
    let out = Out::default();
    for _ in 0..9 {
        send(&gate, "many", 5, &out);
    }
    send(&gate, "one", 5, &out);
    tokio::time::sleep(Duration::from_secs(10)).await;
    let sent = std::mem::take(&mut *out.lock().unwrap());
    let of_one = sent.iter().filter(|job| *job == "one").count();
    assert!(
        sent.len() > 80 && of_one.abs_diff(sent.len() - of_one) <= 1,
        "{sent:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn whoever_waits_in_vain_costs_the_others_no_token() {
    let (gate, clock) = gate();
    let until = clock.now() + Duration::from_secs(1000);
    gate.allow(grant_to(&["low", "high"], 10, until));
    let out = Out::default();
    send(&gate, "low", 0, &out);
    let high = gate.permit("high".parse().unwrap(), CancellationToken::new());
    let (high, start) = (high.with_priority(9), Instant::now());
    while start.elapsed() < Duration::from_secs(10) {
        // Dropped long before there is a token, as often as not right when it is first.
        let _ = tokio::time::timeout(Duration::from_millis(3), high.pass(1)).await;
    }
    let sent = out.lock().unwrap().len() as u64 + high.taken();
    assert!((85..=100).contains(&sent), "{sent} of 100");
    assert_eq!(gate.waiting(), 1, "nothing is left behind");
}

#[tokio::test(start_paused = true)]
async fn a_place_in_flight_goes_to_the_highest_priority_that_waits() {
    let (gate, clock) = gate();
    let mut allowed = grant_to(
        &["low", "high"],
        10,
        clock.now() + Duration::from_secs(1000),
    );
    allowed.grant.share.in_flight = 1;
    gate.allow(allowed);
    let permit = |job: &str, priority| {
        gate.permit(job.parse().unwrap(), CancellationToken::new())
            .with_priority(priority)
    };
    let taken = permit("low", 0).enter().await.unwrap();
    let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
    for (job, priority) in [("low", 0), ("high", 9)] {
        let (permit, tell) = (permit(job, priority), tell.clone());
        tokio::spawn(async move {
            let place = permit.enter().await.unwrap();
            tell.send(job).unwrap();
            drop(place);
        });
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    drop(taken);
    assert_eq!(told.recv().await, Some("high"));
    assert_eq!(told.recv().await, Some("low"));
}

#[tokio::test(start_paused = true)]
async fn a_permit_that_is_withdrawn_after_the_token_and_before_the_send_stops_it() {
    let (gate, clock) = gate();
    let until = clock.now() + Duration::from_secs(1000);
    gate.allow(grant(10, until));
    let permit = gate.permit(job(), CancellationToken::new()).impatient();
    permit.ready(0).await.unwrap();
    let mut held = grant(10, until);
    held.grant.permits.clear();
    gate.allow(held);
    assert_eq!(permit.pass(1).await, Err(Stopped), "it has a token");
    gate.allow(grant(10, until));
    permit.ready(0).await.unwrap();
    assert_eq!(permit.pass(1).await, Ok(()), "and so has this one");
}

#[tokio::test(start_paused = true)]
async fn a_deadline_that_passes_between_the_tokens_and_the_send_stops_it() {
    let (gate, clock) = gate();
    // The fifth token comes some two and a half seconds after the share: none of the five is sent with.
    gate.allow(grant(2, clock.now() + Duration::from_millis(2800)));
    let permit = gate.permit(job(), CancellationToken::new()).impatient();
    let passed = tokio::time::timeout(Duration::from_secs(100), permit.pass(5)).await;
    assert_eq!(passed, Ok(Err(Stopped)));
    assert_eq!((permit.taken(), gate.queries()), (0, 0));
    let (gate, clock) = self::gate();
    gate.allow(grant(1, clock.now() + Duration::from_secs(3)));
    let permit = gate.permit(job(), CancellationToken::new()).impatient();
    permit.ready(0).await.unwrap();
    tokio::time::sleep(Duration::from_millis(5)).await;
    let mut ended = grant(1, clock.now());
    ended
        .grant
        .permits
        .insert(job(), clock.now() + Duration::from_secs(3));
    gate.allow(ended);
    assert_eq!(permit.pass(1).await, Err(Stopped));
}

#[tokio::test(start_paused = true)]
async fn it_keeps_its_level_over_changes_of_rate_however_often_they_come() {
    let (gate, clock) = gate();
    let until = clock.now() + Duration::from_secs(1000);
    gate.allow(grant(8, until));
    let permit = gate.permit(job(), CancellationToken::new());
    tokio::time::sleep(Duration::from_secs(1)).await;
    let changing = {
        let gate = Arc::clone(&gate);
        async move {
            for n in 0u32.. {
                gate.allow(grant(if n % 2 == 0 { 8 } else { 12 }, until));
                gate.brake(if n % 3 == 0 { 1000 } else { 999 });
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
    };
    let changing = tokio::spawn(changing);
    let times = tokio::time::timeout(Duration::from_secs(60), times(&permit, 80)).await;
    changing.abort();
    let took = *times.unwrap().last().unwrap();
    // In no second more than the least share in it: 8.
    assert!(
        (9.0..11.0).contains(&took),
        "80 at 8 to 12 a second took {took}"
    );
}

#[tokio::test(start_paused = true)]
async fn b2_a_brake_lowers_the_rate_at_once_and_no_brake_raises_it_above_the_grant() {
    let (gate, clock) = gate();
    gate.allow(grant(100, clock.now() + Duration::from_secs(1000)));
    let permit = gate.permit(job(), CancellationToken::new());
    tokio::time::sleep(Duration::from_secs(1)).await;
    for (permille, least, most) in [
        (1000, 920, 1000),
        (500, 460, 500),
        (62, 55, 63),
        (5000, 920, 1000),
    ] {
        gate.brake(permille);
        let (start, mut out) = (Instant::now(), 0);
        while start.elapsed() < Duration::from_secs(10) {
            permit.pass(1).await.unwrap();
            out += 1;
        }
        assert!(
            (least..=most).contains(&out),
            "{out} at {permille} permille"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn the_vigil_needs_the_grant_alone_and_goes_before_every_job() {
    let (gate, clock) = gate();
    let until = clock.now() + Duration::from_secs(1000);
    let vigil = gate.vigil();
    assert_eq!(vigil.pass(1).await, Err(Stopped), "without a grant");
    let mut held = grant(10, until);
    held.grant.permits.clear();
    gate.allow(held);
    vigil.pass(1).await.unwrap();
    gate.allow(grant(10, until));
    let out = Out::default();
    for _ in 0..5 {
        send(&gate, "j", u32::MAX - 1, &out);
    }
    tokio::time::sleep(Duration::from_secs(2)).await;
    out.lock().unwrap().clear();
    vigil.pass(1).await.unwrap();
    assert!(
        out.lock().unwrap().len() <= 1,
        "it waited for the next token"
    );
    gate.allow(grant(10, clock.now()));
    assert_eq!(vigil.pass(1).await, Err(Stopped), "after the deadline");
}

/// As [`grant`], of so many rows a second.
fn grant_rows(rate: u64, rows: u64, until: Moment) -> Allowed {
    let mut allowed = grant(rate, until);
    allowed.grant.share.rows = rows;
    allowed
}

#[tokio::test(start_paused = true)]
async fn no_seconds_rows_are_above_the_share_but_for_one_batch_and_nearly_all_are_used() {
    let (gate, clock) = gate();
    gate.allow(grant_rows(
        100,
        1000,
        clock.now() + Duration::from_secs(1000),
    ));
    let permit = gate.permit(job(), CancellationToken::new());
    let (start, mut paid) = (Instant::now(), Vec::new());
    while start.elapsed() < Duration::from_secs(20) {
        permit.pass_expecting(1, 200).await.unwrap();
        // Half of the keys are not there.
        permit.came(200, 100);
        paid.push((start.elapsed().as_secs_f64(), 100));
    }
    for (n, (first, _)) in paid.iter().enumerate() {
        let within = paid[n..].iter().take_while(|(t, _)| *t < first + 1.0);
        let rows: u64 = within.map(|(_, rows)| rows).sum();
        assert!(rows <= 1200, "{rows} in the second from {first}");
    }
    let rows: u64 = paid.iter().map(|(_, rows)| rows).sum();
    assert!((19_000..=20_200).contains(&rows), "{rows} in 20 seconds");
}

#[tokio::test(start_paused = true)]
async fn a_share_of_fewer_rows_than_a_batch_goes_on_and_starts_empty() {
    let (gate, clock) = gate();
    let until = clock.now() + Duration::from_secs(1000);
    gate.allow(grant_rows(100, 10, until));
    let permit = gate.permit(job(), CancellationToken::new());
    let start = Instant::now();
    permit.pass_expecting(1, 500).await.unwrap();
    let first = start.elapsed().as_secs_f64();
    assert!((50.0..50.6).contains(&first), "{first}");
    // It brought twice as much: what is owed is worked off before the next.
    permit.came(500, 1000);
    permit.pass_expecting(1, 10).await.unwrap();
    let second = start.elapsed().as_secs_f64() - first;
    assert!((51.0..51.6).contains(&second), "{second}");
}

#[tokio::test(start_paused = true)]
async fn rows_of_a_query_that_is_not_sent_are_given_back() {
    let (gate, clock) = gate();
    let until = clock.now() + Duration::from_secs(1000);
    gate.allow(grant_rows(1, 100, until));
    let permit = gate.permit(job(), CancellationToken::new());
    let are_there = async |gate: &Arc<Gate>| {
        let permit = gate.permit(job(), CancellationToken::new());
        let start = Instant::now();
        permit.pass_expecting(0, 100).await.unwrap();
        assert!(
            start.elapsed() < Duration::from_millis(10),
            "{:?}",
            start.elapsed()
        );
    };
    // Its rows are there after a second, and are taken with the first token; it does not wait for the second.
    let passing = permit.pass_expecting(2, 100);
    let passed = tokio::time::timeout(Duration::from_millis(1200), passing).await;
    assert!(passed.is_err());
    are_there(&gate).await;
    // One that had all and never sent.
    permit.ready(100).await.unwrap();
    drop(permit);
    are_there(&gate).await;
}

#[tokio::test(start_paused = true)]
async fn whoever_reads_rows_waits_for_them_and_not_for_tokens() {
    let (gate, clock) = gate();
    let until = clock.now() + Duration::from_secs(1000);
    gate.allow(grant_rows(1, 100, until));
    let permit = gate.permit(job(), CancellationToken::new());
    let start = Instant::now();
    for _ in 0..50 {
        permit.pass_expecting(0, 100).await.unwrap();
    }
    let took = start.elapsed().as_secs_f64();
    assert!(
        (50.0..52.0).contains(&took),
        "5000 rows at 100 a second took {took}"
    );
    assert_eq!(permit.taken(), 0);
    gate.allow(grant(1, until));
    permit.pass_expecting(0, 1_000_000).await.unwrap();
    assert!(
        start.elapsed().as_secs_f64() < took + 0.1,
        "rows are not limited any more"
    );
}
