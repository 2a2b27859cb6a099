use stoke_core::estimate::{Curve, History, key_hash};

use super::super::style::Palette;
use super::*;

fn setting() -> Setting {
    Setting {
        qps: 10.0,
        batch_keys: 100,
        requests_per_second: None,
        miss_cost_s: None,
        capacity_qps: None,
        ttl_s: None,
    }
}

fn about(source: Source) -> About {
    About {
        source,
        name: "keys.csv".into(),
        bad_lines: 0,
        bad_line_examples: Vec::new(),
        log: None,
    }
}

/// A list of a thousand keys, of which nothing more is known.
fn list() -> Estimate {
    let mut curve = Curve::new();
    (1..=1000_u64).for_each(|rank| curve.push(1_000_000 / rank / 1000 * 1000));
    let verdict = Verdict::of(&curve, None, None, &setting(), &Facts::default());
    Estimate {
        about: about(Source::List),
        popularity: Popularity::of(&curve, None).unwrap(),
        unseen: curve.unseen(),
        history_requests: None,
        drift: None,
        tried: None,
        setting: setting(),
        facts: Facts::default(),
        timeline: None,
        verdict,
    }
}

/// A log of which all is known.
fn log() -> Estimate {
    let (mut curve, mut history) = (Curve::new(), History::default());
    for key in 0..20_000_u64 {
        history.observe(key_hash(&(key % 100).to_be_bytes()));
    }
    (0..100).for_each(|_| curve.push(200_000));
    let drift = history.drift();
    let setting = Setting {
        requests_per_second: Some(100.0),
        miss_cost_s: Some(0.02),
        capacity_qps: Some(1000.0),
        ttl_s: Some(3600.0),
        ..setting()
    };
    let facts = Facts {
        plan_bytes: Some(1e6),
        cache_free_bytes: Some(1e5),
        user_specific: Some(0.75),
    };
    let timeline = Timeline::of(&curve, drift.as_ref(), &setting);
    let verdict = Verdict::of(&curve, drift.as_ref(), timeline.as_ref(), &setting, &facts);
    let popularity = Popularity::of(&curve, drift.as_ref()).unwrap();
    Estimate {
        about: About {
            bad_lines: 3,
            log: Some(LogLines {
                lines: 20_010,
                filtered: 5,
                unmatched: 2,
                unmatched_example: Some("/style.css".into()),
            }),
            ..about(Source::Log)
        },
        tried: Some(Tried {
            requests: 500.0,
            is_sample: false,
            hit_rates: vec![0.5; popularity.tops.len()],
        }),
        popularity,
        unseen: None,
        history_requests: Some(history.requests()),
        drift,
        setting,
        facts,
        timeline,
        verdict,
    }
}

#[test]
fn a_list_alone_says_what_its_priorities_say_and_what_more_would_need() {
    let estimate = list();
    let text = Report::of(&estimate).text(Palette::PLAIN);
    for line in [
        "plan      1,000 keys, 7,069 requests, of keys.csv\n",
        "drift     unknown: as if what comes were like what was counted; by its counts",
        "  TOP   KEYS  BY PRIORITIES  QUERIES   TIME\n",
        "  1 %     10         41.4 %        1  0.1 s\n",
        "100 %  1,000        100.0 %       10  1.0 s\n",
        "budget    10 queries a second, of 100 keys each\n",
        "verdict   warm, as far as is known\n",
        "not said  how traffic drifts: --log, or --later\n",
        "not said  the hit rate over time: --requests-per-second, or --period\n",
        "not said  what it takes in the cache: --value-bytes\n",
    ] {
        assert!(text.contains(line), "{line}{text}");
    }
}

#[test]
fn where_all_is_known_all_is_said() {
    let estimate = log();
    let text = Report::of(&estimate).text(Palette::PLAIN);
    for line in [
        "of keys.csv; 3 bad lines left out; of 20,010 lines 5 do not count and 2 ask for no key\n",
        "drift     by a history of 20,000 requests: 0.0 % will be for keys that the plan lacks; no fading with time is seen\n",
        "later     tried on 500 requests\n",
        "EXPECTED HIT RATE",
        "cache     1.0 MB, more than the 100.0 kB that are free: the first 10 keys fit\n",
        "over time at 100 requests a second a cold cache comes to 95 % of its 99.9 % after ",
        " of waiting where traffic waits until it is warm\n",
        "verdict   overkill\n",
        "          - the pattern is flat: the first tenth of the keys gets 10.0 % of the requests\n",
        "          - the database bears it: 100 of its 1,000 queries a second, were every request a miss\n",
        "          - a cold cache is warm by itself within ",
        "          - 75.0 % of the requests are for keys of one user each: who comes next is not known\n",
        "          - the cache is too small: the 10 keys that fit have 9.8 % of the plan's hit rate\n",
    ] {
        assert!(text.contains(line), "{line}{text}");
    }
    assert!(!text.contains("not said"), "{text}");
}

#[test]
fn scripts_get_the_same() {
    let (list, log) = (list(), log());
    let of = |estimate| serde_json::to_value(Report::of(estimate)).unwrap();
    let (list, log) = (of(&list), of(&log));
    assert_eq!(list["verdict"], "warm");
    assert_eq!(
        (&list["timeline"], &list["drift"]),
        (&serde_json::Value::Null, &serde_json::Value::Null)
    );
    assert_eq!(list["tops"][1]["entries"], 10);
    assert_eq!(list["tops"][1]["expected"], serde_json::Value::Null);
    assert_eq!(list["left_out"].as_array().unwrap().len(), 8);
    assert_eq!(log["verdict"], "overkill");
    let reasons = log["reasons"].as_array().unwrap();
    let reasons: Vec<&str> = reasons
        .iter()
        .map(|reason| reason["reason"].as_str().unwrap())
        .collect();
    assert_eq!(
        reasons,
        [
            "flat_pattern",
            "database_bears_it",
            "resolves_in_seconds",
            "user_specific_keys",
            "cache_too_small"
        ]
    );
    assert_eq!(log["plan"]["source"], "log");
    assert_eq!(log["tops"][5]["replayed"], 0.5);
    assert!(log["timeline"]["moments"].as_array().unwrap().len() > 100);
    assert!(log["drift"]["unseen"].as_f64().unwrap() < 0.01);
}

#[test]
fn no_control_character_of_a_name_reaches_a_terminal() {
    let mut estimate = list();
    estimate.about.name = "\u{1b}[31m".into();
    let text = Report::of(&estimate).text(Palette::PLAIN);
    assert!(!text.contains('\u{1b}'), "{text}");
}
