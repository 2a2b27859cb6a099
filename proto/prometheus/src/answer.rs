//! What Prometheus answers to an instant query: <https://prometheus.io/docs/prometheus/latest/querying/api/>.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::AskError;

/// How much of Prometheus' own words is repeated, in characters.
const ERROR_CHARS_MAX: usize = 120;
/// What is said of an answer that is none of Prometheus'.
const NOT_PROMETHEUS: AskError = AskError::Strange("its answer is not Prometheus'");

#[derive(Deserialize)]
struct Answer<'a> {
    #[serde(default)]
    status: Cow<'a, str>,
    #[serde(default)]
    error: String,
    #[serde(borrow)]
    data: Option<Data<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Data<'a> {
    result_type: Cow<'a, str>,
    #[serde(borrow)]
    result: &'a RawValue,
}

#[derive(Deserialize)]
struct Sample<'a> {
    #[serde(borrow)]
    metric: Option<&'a RawValue>,
    value: Option<Point>,
}

/// When, and what.
#[derive(Deserialize)]
struct Point(
    #[expect(dead_code, reason = "a place in a list")] f64,
    String,
);

/// One series of an answer, as it is at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Series<'a> {
    /// Its labels, `__name__` among them where there is one, in their order.
    pub labels: Vec<(Cow<'a, str>, String)>,
    /// The number as it is written; `None` of a histogram.
    pub value: Option<String>,
    /// The labels as they are written.
    pub written: &'a str,
}

/// The one number of an answer.
///
/// # Errors
/// Why there is none.
pub fn number(status: u16, body: &[u8]) -> Result<f64, String> {
    let data = data(status, body).map_err(|error| error.to_string())?;
    let malformed = |_| NOT_PROMETHEUS.to_string();
    let result = data.result.get();
    let point: Point = match &*data.result_type {
        "scalar" => serde_json::from_str(result).map_err(malformed)?,
        "vector" => {
            let samples: Vec<Sample<'_>> = serde_json::from_str(result).map_err(malformed)?;
            only(samples)?
        }
        _ => return Err("it gives no number: ask for one value".to_owned()),
    };
    match point.1.parse::<f64>() {
        Ok(value) if value.is_finite() => Ok(value),
        Ok(value) => Err(format!("its value is {value}")),
        Err(_) => Err("its value is no number".to_owned()),
    }
}

/// The series of an answer, each read when it is come to. One that cannot be read is an error of its own.
///
/// # Errors
/// Why there are none.
pub fn series(
    status: u16,
    body: &[u8],
) -> Result<impl Iterator<Item = Result<Series<'_>, AskError>>, AskError> {
    let data = data(status, body)?;
    if data.result_type != "vector" {
        return Err(AskError::Strange(
            "it gives no series: ask for a vector of them, as sum by (product) (…)",
        ));
    }
    // Where each begins and ends is all that is held of them.
    let all: Vec<&RawValue> =
        serde_json::from_str(data.result.get()).map_err(|_| NOT_PROMETHEUS)?;
    Ok(all.into_iter().map(one))
}

fn one(written: &RawValue) -> Result<Series<'_>, AskError> {
    let sample: Sample<'_> = serde_json::from_str(written.get()).map_err(|_| NOT_PROMETHEUS)?;
    let metric = sample.metric.map_or("{}", RawValue::get);
    let Labels(labels) = serde_json::from_str(metric).map_err(|_| NOT_PROMETHEUS)?;
    Ok(Series {
        labels,
        value: sample.value.map(|point| point.1),
        written: metric,
    })
}

fn data(status: u16, body: &[u8]) -> Result<Data<'_>, AskError> {
    let answer: Option<Answer<'_>> = serde_json::from_slice(body).ok();
    if status != 200 {
        let why = answer.map(|answer| answer.error).unwrap_or_default();
        let why = why.chars().take(ERROR_CHARS_MAX).collect();
        return Err(AskError::Refused { status, why });
    }
    let answer = answer.filter(|answer| answer.status == "success");
    let answer = answer.ok_or(NOT_PROMETHEUS)?;
    answer
        .data
        .ok_or(AskError::Strange("its answer has no data"))
}

fn only(samples: Vec<Sample<'_>>) -> Result<Point, String> {
    match <[Sample<'_>; 1]>::try_from(samples) {
        Ok([sample]) => sample
            .value
            .ok_or_else(|| "it gives no number but a histogram".to_owned()),
        Err(samples) if samples.is_empty() => Err("it gives no value".to_owned()),
        Err(samples) => {
            let count = samples.len();
            Err(format!("it gives {count} values, not one: aggregate them"))
        }
    }
}

/// An object's members in their order.
struct Labels<'a>(Vec<(Cow<'a, str>, String)>);

impl<'de> Deserialize<'de> for Labels<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;
        impl<'de> Visitor<'de> for Members {
            type Value = Labels<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("labels")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Labels<'de>, A::Error> {
                let mut labels = Vec::new();
                while let Some(Name(name)) = map.next_key()? {
                    labels.push((name, map.next_value()?));
                }
                Ok(Labels(labels))
            }
        }
        deserializer.deserialize_map(Members)
    }
}

/// A label's name, borrowed where it has no escapes. (A bare `Cow` would always be owned.)
#[derive(Deserialize)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

#[cfg(test)]
mod tests {
    use super::*;

    fn of(result: &str) -> Result<f64, String> {
        let body = format!(r#"{{"status":"success","data":{result}}}"#);
        number(200, body.as_bytes())
    }

    #[test]
    fn one_sample_or_scalar_is_a_number_and_all_else_says_why_not() {
        let sample = |value: &str| format!(r#"{{"metric":{{"a":"b"}},"value":[1.5,"{value}"]}}"#);
        let vector = |samples: &[String]| {
            of(&format!(
                r#"{{"resultType":"vector","result":[{}]}}"#,
                samples.join(",")
            ))
        };
        assert_eq!(vector(&[sample("2.5")]), Ok(2.5));
        assert_eq!(of(r#"{"resultType":"scalar","result":[1,"7"]}"#), Ok(7.0));
        let why = |outcome: Result<f64, String>| outcome.unwrap_err();
        assert_eq!(why(vector(&[])), "it gives no value");
        let two = vector(&[sample("1"), sample("2")]);
        assert_eq!(why(two), "it gives 2 values, not one: aggregate them");
        assert_eq!(why(vector(&[sample("NaN")])), "its value is NaN");
        assert_eq!(why(vector(&[sample("+Inf")])), "its value is inf");
        assert_eq!(why(vector(&[sample("x")])), "its value is no number");
        let histogram = r#"{"metric":{},"histogram":[1,{}]}"#.to_owned();
        assert_eq!(
            why(vector(&[histogram])),
            "it gives no number but a histogram"
        );
        let text = of(r#"{"resultType":"string","result":[1,"7"]}"#);
        assert_eq!(why(text), "it gives no number: ask for one value");
        let matrix = of(r#"{"resultType":"matrix","result":[]}"#);
        assert_eq!(why(matrix), "it gives no number: ask for one value");
    }

    #[test]
    fn errors_are_prometheus_own_words_cut_short() {
        let body = br#"{"status":"error","errorType":"bad_data","error":"parse error"}"#;
        assert_eq!(number(400, body), Err("it answers 400: parse error".into()));
        assert_eq!(number(502, b"<html>"), Err("it answers 502".into()));
        let other = Err("its answer is not Prometheus'".into());
        assert_eq!(number(200, b"<html>"), other);
        assert_eq!(number(200, b"{}"), other);
    }

    #[test]
    fn series_have_labels_and_a_number() {
        let body = br#"{"status":"success","data":{"resultType":"vector","result":[
            {"metric":{"__name__":"views","product":"a \"b\""},"value":[1.5,"NaN"]},
            {"metric":{},"value":[1,"7"]},
            {"metric":{"product":"8"},"histogram":[1,{}]},
            {"metric":{"product":8},"value":[1,"7"]}]}}"#;
        let all: Vec<_> = series(200, body).unwrap().collect();
        let first = all[0].as_ref().unwrap();
        let labels: Vec<(&str, &str)> = first.labels.iter().map(|(n, v)| (&**n, &**v)).collect();
        assert_eq!(labels, [("__name__", "views"), ("product", "a \"b\"")]);
        assert_eq!(first.value.as_deref(), Some("NaN"));
        assert!(first.written.starts_with("{\"__name__\""));
        assert_eq!(all[1].as_ref().unwrap().labels, []);
        assert_eq!(all[2].as_ref().unwrap().value, None);
        assert_eq!(all[3], Err(NOT_PROMETHEUS));
    }

    #[test]
    fn what_gives_no_series_says_what_to_ask_for_and_whether_it_passes() {
        let refused = |status, body: &str| series(status, body.as_bytes()).map(drop).unwrap_err();
        let scalar = refused(
            200,
            r#"{"status":"success","data":{"resultType":"scalar","result":[1,"7"]}}"#,
        );
        assert!(scalar.to_string().contains("ask for a vector"), "{scalar}");
        let bad = refused(400, r#"{"status":"error","error":"parse error"}"#);
        assert_eq!(
            (bad.to_string().as_str(), bad.is_transient()),
            ("it answers 400: parse error", false)
        );
        assert!(refused(503, "").is_transient());
        assert!(!refused(401, "").is_transient());
        assert!(!refused(200, "<html>").is_transient());
        let nested = format!(
            r#"{{"status":"success","data":{{"resultType":"vector","result":{}1{}}}}}"#,
            "[".repeat(100_000),
            "]".repeat(100_000)
        );
        let _ = series(200, nested.as_bytes()).map(Iterator::count);
    }
}
