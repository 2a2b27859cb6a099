use super::super::{Faults, Surroundings, read};
use super::*;

fn parse(text: &str) -> Result<WorkerConfig, Faults> {
    read(text, &Surroundings::of_tests(), WorkerConfig::take)
}

fn faults(text: &str) -> String {
    parse(text).unwrap_err().to_string()
}

const FINE: &str = r#"
name = "w1"
allow-sql-in-jobs = true
[etcd]
endpoints = ["http://127.0.0.1:2379"]
username = "root"
password = "hunterhunter"
[origins.shop]
url = "postgres://stoke:hunterhunter@localhost/shop"
[caches.main]
urls = ["redis://:hunterhunter@localhost:7001"]
password = "hunterhunter"
[loaders.product]
origin = "shop"
query = "SELECT * FROM products WHERE id IN (:keys)"
key = "product:{key}"
ttl = "1h"
[sources.popular]
origin = "shop"
query = "SELECT id AS key FROM products"
loader = "product"
"#;

#[test]
fn process_and_catalog_stand_in_one_file() {
    let config = parse(FINE).unwrap();
    assert!(config.settings.catalog.allow_sql_in_jobs);
    assert_eq!(config.settings.catalog.loaders.len(), 1);
    assert_eq!(config.settings.member_ttl, Duration::from_secs(5));
}

#[test]
fn unknown_keys_are_refused_wherever_they_stand() {
    assert!(
        faults(&FINE.replace("allow-sql-in-jobs", "allow-sql")).contains("allow-sql: there is no")
    );
    assert!(faults(&FINE.replace("ttl =", "tlt =")).contains("loaders.product.tlt: there is no"));
    assert!(faults(&FINE.replace("endpoints", "endpoint")).contains("etcd.endpoint: there is no"));
}

#[test]
fn an_origins_statements_end_before_a_dead_workers_count_as_ended() {
    let slow = FINE.replace(
        "[caches.main]",
        "statement-timeout = \"10s\"\n[caches.main]",
    );
    assert_eq!(
        faults(&slow),
        "line 10, column 21: origins.shop.statement-timeout: it is longer than timing.statement-timeout, 5s by \
         default, after which a dead worker's queries count as ended; shorten the one, or lengthen the other in all processes"
    );
    let both = format!("{slow}[timing]\nstatement-timeout = \"8s\"");
    assert_eq!(
        faults(&both),
        "line 10, column 21: origins.shop.statement-timeout: it is longer than timing.statement-timeout (line 24), 8s, \
         after which a dead worker's queries count as ended; shorten the one, or lengthen the other in all processes"
    );
    let short = format!("{FINE}[timing]\nstatement-timeout = \"2s\"");
    assert_eq!(
        faults(&short),
        "line 23, column 21: timing.statement-timeout: it is shorter than origins.shop.statement-timeout, 5s by \
         default; shorten the one, or lengthen the other in all processes"
    );
    assert!(parse(&format!("{slow}[timing]\nstatement-timeout = \"10s\"")).is_ok());
}

#[test]
fn a_name_leaves_room_for_the_incarnation() {
    let named = |length: usize| FINE.replace("\"w1\"", &format!("\"{}\"", "w".repeat(length)));
    assert!(parse(&named(54)).is_ok());
    assert_eq!(
        faults(&named(55)),
        "line 2, column 8: name: it is too long; use at most 54 characters"
    );
}

/// Every fault of the text, where it has any.
fn shown(text: &str) -> String {
    parse(text).map_or_else(|faults| format!("{faults} {faults:?}"), |_| String::new())
}

// One that is cut anywhere still has "hunter" in it.
const SECRET: &str = "hunter";

#[test]
fn no_fault_of_a_mistyped_file_shows_a_secret() {
    assert!(FINE.is_ascii());
    let mut texts = 0;
    for at in 0..FINE.len() {
        let (before, after) = FINE.split_at(at);
        let (char, after) = after.split_at(1);
        for typed in ["", "\"", "=", "[", "\n", "#", "\"\"\""] {
            for text in [
                format!("{before}{typed}{after}"),
                format!("{before}{typed}{char}{after}"),
            ] {
                let shown = shown(&text);
                assert!(!shown.contains(SECRET), "{typed:?} at {at}: {shown}");
                texts += 1;
            }
        }
    }
    assert!(texts > 5_000);
}

#[test]
fn no_fault_of_a_misplaced_setting_shows_a_secret() {
    let lines: Vec<&str> = FINE.lines().collect();
    for from in 0..lines.len() {
        for to in 0..lines.len() {
            // Another line's key with this one's value, and this line in another place.
            let mut moved = lines.clone();
            let line = moved.remove(from);
            moved.insert(to, line);
            let mut texts = vec![moved.join("\n")];
            if let (Some((_, value)), Some((key, _))) =
                (lines[from].split_once(" = "), lines[to].split_once(" = "))
            {
                let mixed = format!("{key} = {value}");
                let mut replaced = lines.clone();
                replaced[to] = &mixed;
                texts.push(replaced.join("\n"));
            }
            for text in texts {
                let faults =
                    parse(&text).map_or_else(|faults| faults.to_string(), |_| String::new());
                // A bare word may be a name as well as a password; what is in a URL is none.
                let bare = faults.matches("\"hunterhunter\"").count();
                assert_eq!(faults.matches(SECRET).count(), 2 * bare, "{text}\n{faults}");
            }
        }
    }
}
