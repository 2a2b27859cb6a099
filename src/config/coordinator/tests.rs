use super::super::{Faults, Surroundings, read};
use super::*;

fn parse(text: &str) -> Result<CoordinatorConfig, Faults> {
    read(text, &Surroundings::of_tests(), CoordinatorConfig::take)
}

fn faults(text: &str) -> String {
    parse(text).unwrap_err().to_string()
}

const FINE: &str = r#"
name = "c1"
listen = "127.0.0.1:7400"
plan-store = "/var/lib/stoke"
[etcd]
endpoints = ["http://127.0.0.1:2379"]
[budgets."origin/shop"]
qps = 20
[budgets."origin/big"]
capacity = 1000
"#;

#[test]
fn a_budget_is_a_rate_or_a_fifth_of_what_the_database_bears() {
    let config = parse(FINE).unwrap();
    let rate = |name: &str| config.settings.budgets[&name.parse::<Resource>().unwrap()].rate_milli;
    assert_eq!((rate("origin/shop"), rate("origin/big")), (20_000, 200_000));
    assert_eq!(config.settings.address, "http://127.0.0.1:7400");
}

#[test]
fn who_listens_everywhere_says_where_others_call() {
    let everywhere = FINE.replace("127.0.0.1:7400", "0.0.0.0:7400");
    let error = parse(&everywhere).unwrap_err().to_string();
    assert!(error.contains("add advertise"), "{error}");
    let told = everywhere.replace("plan-store", "advertise = \"http://c1:7400\"\nplan-store");
    assert_eq!(parse(&told).unwrap().settings.address, "http://c1:7400");
}

#[test]
fn ranking_has_a_quarter_of_a_gibibyte_and_the_systems_folder_or_what_is_said() {
    let ranking = parse(FINE).unwrap().settings.ranking;
    assert_eq!(ranking.memory_bytes, 256 << 20);
    assert_eq!(ranking.spill_dir, std::env::temp_dir());
    let said = |memory| {
        FINE.replace(
            "[etcd]",
            &format!("ranking-memory = {memory}\nspill-dir = \"/spill\"\n[etcd]"),
        )
    };
    let ranking = parse(&said("\"2GiB\"")).unwrap().settings.ranking;
    assert_eq!(ranking.memory_bytes, 2 << 30);
    assert_eq!(ranking.spill_dir, Path::new("/spill"));
    for (memory, told) in [
        ("\"15MiB\"", "out of range; choose from 16MiB to 1TiB"),
        (
            "256",
            "is no size; write a whole number with its unit, as \"256MiB\" or \"2GiB\"",
        ),
        ("\"256 MB\"", "is no size"),
    ] {
        let faults = faults(&said(memory));
        assert!(faults.contains(told), "{faults}");
    }
}

#[test]
fn a_rate_has_a_unit_or_is_a_seconds() {
    for (qps, milli) in [
        ("20", 20_000),
        ("0.5", 500),
        ("\"200/s\"", 200_000),
        ("\"12000/min\"", 200_000),
        ("\"36/h\"", 10),
        ("0", 0),
    ] {
        let config = parse(&FINE.replace("qps = 20", &format!("qps = {qps}"))).unwrap();
        let budget = config.settings.budgets[&"origin/shop".parse().unwrap()];
        assert_eq!(budget.rate_milli, milli, "{qps}");
    }
}

#[test]
fn faults_of_all_kinds_come_together_in_the_order_of_the_file() {
    let text = r#"# Über die Konfiguration
name = "c 1"
listen = "127.0.0.1:7400"
http-listen = "0.0.0.0:7400"
plan-store "/var/lib/stoke"
leader-ttl = 5
advertise = "c1.internal"

[etcd]
endpoints = ["http://a:2379", "http://b:2379" "http://c:2379"]
usrname = "x"

[timing]
term = "2s"
quarantine = "1s"
renew-every = "1500ms"

[budgets."origin/shop"]
qsp = 20
qps = "20/d"
[budgets.shop]
qps = 5
capacity = 3
fraction = 2
[budgets."cache/ä"]
qps = 1e-7
in-flight = 0
burst = 1.5
[telemetry]
log-format = "xml"
log-filter = "a=b=c"
otlp-endpoint = "${UNSET}"
"#;
    let expected = [
        r#"line 2, column 8: name: "c 1" is not a name; use 1 to 63 letters, digits, '-', '_' and '.', beginning with a letter or digit"#,
        "line 4, column 15: http-listen: it is the address of listen (line 3); choose another port",
        "line 5, column 12: key with no value, expected `=`; see https://toml.io for how TOML is written",
        r#"line 6, column 14: leader-ttl: a number without unit or quotes is no duration; write a number with its unit, as "500ms", "5s", "5m" or "1h30m""#,
        "line 7, column 13: advertise: it is no address; write http://HOST:PORT",
        "line 10, column 47: missing comma between array elements, expected `,`; see https://toml.io for how TOML is written",
        "line 11, column 1: etcd.usrname: there is no such setting; did you mean username? There are ca-file, cert-file, endpoints, key-file, password, password-file, prefix, timeout, username",
        "line 14, column 8: timing.term: a term of 2s leaves no room for a second renewal: it must be at least twice the 1.5s between renewals and the 1s that one may take, see timing.renew-every (line 16); lengthen term, or shorten renew-every and renew-deadline",
        "line 15, column 14: timing.quarantine: a quarantine of 1s is too short for a term of 2s and a drift of 10‰: at least 2.29040404s is needed, see timing.term (line 14); lengthen quarantine, or leave it out: it follows from the term then",
        r#"line 19, column 1: budgets."origin/shop".qsp: there is no such setting; did you mean qps? There are burst, capacity, fraction, guard-floor, guards, in-flight, qps, rows"#,
        r#"line 20, column 7: budgets."origin/shop".qps: it has an unknown unit; write a number with its unit, as 200/s, 12000/min or 0.5/h"#,
        r#"line 21, column 10: budgets.shop: it names no resource; write it as [budgets."origin/NAME"] or [budgets."cache/NAME"]"#,
        "line 23, column 12: budgets.shop.capacity: it cannot stand beside budgets.shop.qps (line 22); set either qps, or capacity (and fraction)",
        "line 24, column 12: budgets.shop.fraction: it is out of range; choose from 0.001 to 1",
        r#"line 25, column 10: budgets."cache/ä": it names no resource; write it as [budgets."origin/NAME"] or [budgets."cache/NAME"]"#,
        r#"line 26, column 7: budgets."cache/ä".qps: it is out of range; choose 0, or from 0.001/s to 1000000000/s"#,
        r#"line 27, column 13: budgets."cache/ä".in-flight: it is out of range; choose from 1 to 100000"#,
        r#"line 28, column 9: budgets."cache/ä".burst: a number without unit or quotes cannot stand here; write a whole number, without quotes"#,
        r#"line 30, column 14: telemetry.log-format: "xml" is not possible; choose "text" or "json""#,
        r#"line 31, column 14: telemetry.log-filter: it is no log filter; write a level or targets with levels, as "info,stoke_worker=debug""#,
        r#"line 32, column 17: telemetry.otlp-endpoint: the environment variable "UNSET" is not set; set the variable for this process"#,
    ];
    assert_eq!(faults(text), expected.join("\n"));
}

#[test]
fn budgets_that_are_absurd_are_refused() {
    let rate = "it is out of range; choose 0, or from 0.001/s to 1000000000/s";
    let form = "write a number with its unit, as 200/s, 12000/min or 0.5/h";
    for (setting, what) in [
        ("qps = -1", rate.to_owned()),
        ("qps = nan", rate.to_owned()),
        ("qps = inf", rate.to_owned()),
        ("qps = -inf", rate.to_owned()),
        ("qps = 1e10", rate.to_owned()),
        ("qps = '1e10/s'", rate.to_owned()),
        ("qps = '1000000001/s'", rate.to_owned()),
        ("qps = 1e-9", rate.to_owned()),
        ("qps = '-5/s'", format!("it is no rate; {form}")),
        ("qps = 'NaN'", format!("it is no rate; {form}")),
        ("qps = 'inf/s'", format!("it is no rate; {form}")),
        ("capacity = nan", rate.to_owned()),
        ("capacity = -3", rate.to_owned()),
    ] {
        let faults = faults(&FINE.replace("qps = 20", setting));
        let (key, _) = setting.split_once(' ').unwrap();
        assert!(
            faults.starts_with("line 8, column ")
                && faults.ends_with(&format!("budgets.\"origin/shop\".{key}: {what}")),
            "{setting}: {faults}"
        );
    }
    for (setting, range) in [
        ("fraction = nan", "0.001 to 1"),
        ("fraction = 0", "0.001 to 1"),
        ("fraction = -0.2", "0.001 to 1"),
        ("fraction = 1.5", "0.001 to 1"),
        ("in-flight = -1", "1 to 100000"),
        ("in-flight = 0", "1 to 100000"),
        ("in-flight = 100001", "1 to 100000"),
        ("burst = 0", "1 to 1000000"),
        ("burst = 99999999999999999999999", "1 to 1000000"),
    ] {
        let faults = faults(&format!("{FINE}{setting}"));
        let told = format!("it is out of range; choose from {range}");
        assert!(faults.ends_with(&told), "{setting}: {faults}");
    }
}

#[test]
fn what_is_missing_is_said_where_it_belongs() {
    let expected = [
        "line 1, column 1: name: it is missing; add name = \"c1\", its name among the coordinators",
        "line 1, column 1: listen: it is missing; add listen = \"0.0.0.0:7400\"",
        "line 1, column 1: plan-store: it is missing; add plan-store = \"DIRECTORY\"",
        "line 2, column 1: etcd.endpoints: it is missing; add endpoints = [\"http://…:2379\"]",
        "line 3, column 10: budgets.\"origin/shop\": it has no rate; set either qps, or capacity (and fraction)",
        "line 5, column 12: budgets.\"origin/big\".fraction: it stands without capacity; add capacity",
    ];
    let text = "\n[etcd]\n[budgets.'origin/shop']\n[budgets.'origin/big']\nfraction = 0.2";
    assert_eq!(faults(text), expected.join("\n"));
    assert_eq!(
        faults(&FINE.replace("[etcd]\nendpoints", "[timing]\nterm = '5s'\n#")),
        "line 1, column 1: etcd: it is missing; add [etcd] with endpoints = [\"http://…:2379\"]"
    );
}

#[test]
fn who_logs_in_to_etcd_has_one_password() {
    let with = |text: &str| {
        parse(&FINE.replace(
            "[budgets.\"origin/shop\"]",
            &format!("{text}\n[budgets.\"origin/shop\"]"),
        ))
    };
    for password in [
        "password = '${ETCD_PASSWORD}'",
        "password-file = '/x'",
        "password = 's3cret'",
    ] {
        let etcd = with(&format!("username = 'root'\n{password}"))
            .unwrap()
            .etcd;
        let expected = stoke_store::etcd::Password::new("s3cret");
        assert_eq!(etcd.user, Some(("root".to_owned(), expected)));
        assert!(!format!("{etcd:?}").contains("s3cret"));
    }
    for (text, fault) in [
        (
            "username = 'root'",
            "line 7, column 12: etcd.username: it has no password; add password or password-file",
        ),
        (
            "password = 's3cret'",
            "line 5, column 1: etcd: there is a password, and no username; add username",
        ),
        (
            "username = 'root'\npassword = 's3cret'\npassword-file = '/x'",
            "line 9, column 17: etcd.password-file: it cannot stand beside etcd.password (line 8); keep one of them",
        ),
        (
            "password-file = '/missing'\nusername = 'root'",
            "line 7, column 17: etcd.password-file: the file cannot be read: entity not found; name a file that this process can read",
        ),
        (
            "username = 'root'\npassword = '${UNSET}'",
            "line 8, column 12: etcd.password: the environment variable \"UNSET\" is not set; set the variable for this process",
        ),
        (
            "ca-file = '/ca.pem'",
            "line 7, column 11: etcd.ca-file: it is not used: no endpoint begins with https://; change the address, or remove it",
        ),
    ] {
        assert_eq!(with(text).unwrap_err().to_string(), fault);
    }
}

#[test]
fn telemetry_and_tls_reach_their_settings() {
    let text = FINE.replace("http://127", "https://127").replace(
        "[budgets.\"origin/shop\"]",
        "ca-file = '/ca.pem'\ncert-file = '/a.pem'\nkey-file = '/b.pem'\n[telemetry]\nlog-format = 'json'\n\
         log-filter = 'debug'\notlp-endpoint = 'http://c:4317'\n[budgets.\"origin/shop\"]",
    );
    let config = parse(&format!("http-listen = '127.0.0.1:7480'\n{text}")).unwrap();
    assert_eq!(config.http_listen, "127.0.0.1:7480".parse().ok());
    let tls = stoke_store::etcd::Tls {
        ca: Some("/ca.pem".into()),
        identity: Some(("/a.pem".into(), "/b.pem".into())),
    };
    assert_eq!(config.etcd.tls, tls);
    let telemetry = telemetry::Settings {
        log_format: telemetry::LogFormat::Json,
        log_filter: Some("debug".into()),
        otlp_endpoint: Some("http://c:4317".into()),
    };
    assert_eq!(config.telemetry, telemetry);
}

#[test]
fn the_endpoints_of_etcd_are_addresses_without_users_and_alike_in_tls() {
    for (endpoints, fault) in [
        (
            "'http://a', 'https://b'",
            "line 6, column 13: etcd.endpoints: some begin with https://, and others do not;",
        ),
        (
            "'http://u:s3cret@a'",
            "line 6, column 14: etcd.endpoints[0]: it has a user in it;",
        ),
        (
            "'a:1', 'ftp://b'",
            "line 6, column 21: etcd.endpoints[1]: it is no endpoint;",
        ),
        ("", "line 6, column 13: etcd.endpoints: the list is empty;"),
    ] {
        let faults = faults(&FINE.replace("\"http://127.0.0.1:2379\"", endpoints));
        assert!(faults.starts_with(fault), "{faults}");
        assert!(
            !faults.contains("s3cret") && faults.lines().count() == 1,
            "{faults}"
        );
    }
}

#[test]
fn coordinators_are_not_advertised_with_a_tls_that_they_do_not_speak() {
    let text = FINE.replace("plan-store", "advertise = \"https://c1:7400\"\nplan-store");
    let error = faults(&text);
    assert!(
        error.contains("coordinators speak no TLS; write http://HOST:PORT"),
        "{error}"
    );
}

#[test]
fn an_empty_secret_is_none() {
    let around = Surroundings {
        variable: &|_| Some(String::new()),
        read: &|_| Ok("\n".to_owned()),
        ..Surroundings::of_tests()
    };
    for (password, told) in [
        (
            "password = '${EMPTY}'",
            "etcd.password: its variables are all empty",
        ),
        (
            "password-file = '/x'",
            "etcd.password-file: the file is empty",
        ),
    ] {
        let text = FINE.replace("[etcd]", &format!("[etcd]\nusername = 'root'\n{password}"));
        let error = read(&text, &around, CoordinatorConfig::take)
            .unwrap_err()
            .to_string();
        assert!(error.contains(told), "{error}");
    }
}

#[test]
fn a_user_is_told_of_its_own_faults_and_not_of_those_that_the_syntax_makes() {
    let broken = faults(&FINE.replace("[etcd]", "[etcd]\nusername = 'root'\npassword = 'x"));
    assert!(!broken.contains("it has no password"), "{broken}");
    let typed = faults(&FINE.replace("[etcd]", "[etcd]\nusername = 5"));
    assert!(typed.contains("etcd.username: a number"), "{typed}");
}

fn guards(text: &str) -> Result<stoke_coordinator::Guarding, Faults> {
    let config = parse(&format!("{FINE}{text}"))?;
    let big = "origin/big".parse::<Resource>().unwrap();
    Ok(config.settings.guards[&big].clone())
}

#[test]
fn of_a_guard_only_what_it_looks_at_its_threshold_and_what_it_does_must_be_said() {
    use stoke_core::guard::{Action, Signal, Threshold};
    let text = r#"
[budgets."origin/big".guards.latency]
latency = "p99.9"
above = "200ms"
action = "slow"
[budgets."origin/big".guards.busy]
prometheus = "max(active)"
url = "http://me:${PASSWORD}@prom:9090"
below = -10
action = "pause"
abort-after = "1h"
"#;
    let found = guards(text).unwrap();
    assert_eq!(found.policy.floor_permille, 50);
    let of = |name: &str| {
        let mut all = found.policy.guards.iter();
        all.find(|guard| guard.name.as_str() == name).unwrap()
    };
    let second = Duration::from_secs(1);
    let latency = of("latency");
    let window = 10 * second;
    let (permille, brake) = (999, Some(0.4));
    assert_eq!(latency.signal, Signal::Latency { permille, window });
    assert_eq!(latency.action, Action::Slow { brake });
    let Threshold::Above { trigger, clear } = latency.threshold else {
        panic!("{latency:?}")
    };
    assert!((trigger - 0.2).abs() < 1e-9 && (clear - 0.16).abs() < 1e-9);
    let times = (latency.sustained, latency.calm, latency.stale_after);
    assert_eq!(times, (5 * second, 10 * second, 15 * second));
    let busy = of("busy");
    let (trigger, clear) = (-10.0, -7.5);
    assert_eq!(busy.threshold, Threshold::Below { trigger, clear });
    let abort_after = Some(3600 * second);
    assert_eq!(busy.action, Action::Pause { abort_after });
    let query = &found.queries[&busy.name];
    assert_eq!(
        (query.text.as_str(), query.every),
        ("max(active)", 5 * second)
    );
    assert_eq!(format!("{:?}", query.server), "http://prom:9090");
}

#[test]
fn what_is_wrong_with_guards_comes_with_its_place_and_no_password() {
    let text = r#"
guard-floor = 0
[budgets."origin/big".guards."x y"]
latency = "99"
errors = true
above = "200ms"
action = "stop"
[budgets."origin/big".guards.a]
latency = "99"
above = 200
below = 3
clear = "300ms"
url = "http://x"
action = "pause"
brake = "1s"
[budgets."origin/big".guards.b]
latency = "p99"
above = "200ms"
clear = "300ms"
action = "slow"
window = "2m"
[budgets."origin/big".guards.c]
probe = "lag"
window = "5s"
action = "abort"
abort-after = "1h"
[budgets."origin/big".guards.d]
prometheus = "up"
url = "https://me:secret@prom"
above = "200ms"
interval = "20s"
action = "slow"
[budgets."origin/big".guards.e]
[budgets."origin/big".guards.f]
errors = true
below = 0.5
action = "slow"
[budgets."cache/main"]
qps = 5
rows = 0.5
guard-floor = 0.1
[budgets."cache/main".guards.lag]
probe = "lag"
above = 3
action = "slow"
"#;
    let text = guards(text).unwrap_err().to_string();
    assert!(!text.contains("secret"), "{text}");
    for (at, fault) in [
        ("guard-floor", "it is out of range; choose from 0.001 to 1"),
        (r#"guards."x y""#, "its name is none; use 1 to 63"),
        (r#"guards."x y".errors"#, "it cannot stand beside"),
        (
            r#"guards."x y".action"#,
            r#""stop" is not possible; choose "slow" or "pause" or "abort""#,
        ),
        (
            "guards.a.latency",
            r#"it is no percentile; write it as "p50""#,
        ),
        ("guards.a.below", "it cannot stand beside"),
        (
            "guards.a.brake",
            "it does not belong to this guard; it is for latency and errors that slow",
        ),
        (
            "guards.b.clear",
            "it would be good while it is bad; choose no more than above",
        ),
        (
            "guards.b.window",
            "it is out of range; choose from 1s to 1m",
        ),
        (
            "guards.c.window",
            "it does not belong to this guard; it is for latency and errors",
        ),
        ("guards.c", "it has no threshold; set above or below"),
        ("guards.c.abort-after", "it is for action = \"pause\""),
        (
            "guards.d.url",
            "a Prometheus is asked without TLS; write http://HOST:PORT",
        ),
        ("guards.d.above", "a text cannot stand here"),
        (
            "guards.d.interval",
            "a reading would be stale before the next one comes",
        ),
        ("guards.e", "it looks at nothing; set one of"),
        ("guards.e.action", "it is missing; add action"),
        ("guards.f.below", "what is small here is good; set above"),
    ] {
        let at = format!("budgets.\"origin/big\".{at}: ");
        let is_it = |line: &&str| line.contains(&at) && line.contains(fault);
        assert!(
            text.lines().any(|line| is_it(&line)),
            "{at}{fault}\nin\n{text}"
        );
    }
    for (at, fault) in [
        ("rows", "it is less than a row a second"),
        ("guards.lag.probe", "caches have no such probe"),
    ] {
        let fault = format!("budgets.\"cache/main\".{at}: {fault}");
        assert!(text.contains(&fault), "{fault}\nin\n{text}");
    }
    let lonely = guards("guard-floor = 0.1\n").unwrap_err().to_string();
    let fault = "guard-floor: it stands without guards";
    assert!(lonely.contains(fault), "{lonely}");
}

#[test]
fn a_budget_may_limit_rows() {
    let config = parse(&FINE.replace("qps = 20", "qps = 20\nrows = \"50000/s\"")).unwrap();
    let rows = |name: &str| config.settings.budgets[&name.parse::<Resource>().unwrap()].rows;
    let expected = (50_000, Share::ANY_ROWS);
    assert_eq!((rows("origin/shop"), rows("origin/big")), expected);
}

#[test]
fn what_nobody_needs_is_kept_for_as_long_as_is_said() {
    const DAY: Duration = Duration::from_secs(86_400);
    let kept = |text: &str| {
        let config = parse(&format!("{FINE}[retention]\n{text}")).unwrap();
        let kept = config.settings.retention;
        (kept.jobs, kept.orphans)
    };
    let hour = DAY / 24;
    assert_eq!(kept(""), (Some(DAY * 30), hour));
    assert_eq!(
        kept("jobs = \"7d\"\norphans = \"2d\""),
        (Some(DAY * 7), DAY * 2)
    );
    assert_eq!(kept("jobs = \"forever\""), (None, hour));
    let wrong = "[retention]\njobs = \"never\"\norphans = \"0s\"\nplans = \"1h\"\n";
    assert_eq!(
        faults(&format!("{FINE}{wrong}")),
        "line 12, column 8: retention.jobs: \"never\" is no duration; write a number with its unit, as \"500ms\", \"5s\", \"5m\" or \"1h30m\"\n\
         line 13, column 11: retention.orphans: it is out of range; choose from 1s to 365days\n\
         line 14, column 1: retention.plans: there is no such setting; There are jobs, orphans"
    );
    let beyond = faults(&format!("{FINE}[retention]\njobs = \"3651d\"\n"));
    assert!(beyond.contains("choose from 1s to 3650days"), "{beyond}");
}
