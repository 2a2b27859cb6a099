//! What Prometheus answers to an instant query: <https://prometheus.io/docs/prometheus/latest/querying/api/>.

use serde::Deserialize;
use stoke_core::guard::Outcome;

/// How much of Prometheus' own words is repeated, in characters.
const ERROR_CHARS_MAX: usize = 120;

#[derive(Deserialize)]
struct Answer {
    #[serde(default)]
    status: String,
    #[serde(default)]
    error: String,
    data: Option<Data>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Data {
    result_type: String,
    result: serde_json::Value,
}

#[derive(Deserialize)]
struct Sample {
    value: Option<Point>,
}

/// When, and what.
#[derive(Deserialize)]
struct Point(
    #[expect(dead_code, reason = "a place in a list")] f64,
    String,
);

/// The one number of an answer.
pub(super) fn number(status: u16, body: &[u8]) -> Outcome {
    let answer: Option<Answer> = serde_json::from_slice(body).ok();
    if status != 200 {
        let why = answer.map(|answer| answer.error).unwrap_or_default();
        let why: String = why.chars().take(ERROR_CHARS_MAX).collect();
        let colon = if why.is_empty() { "" } else { ": " };
        return Err(format!("it answers {status}{colon}{why}"));
    }
    let answer = answer
        .filter(|answer| answer.status == "success")
        .ok_or("its answer is not Prometheus'")?;
    let data = answer.data.ok_or("its answer has no data")?;
    let malformed = |_| "its answer is not Prometheus'";
    let point: Point = match data.result_type.as_str() {
        "scalar" => serde_json::from_value(data.result).map_err(malformed)?,
        "vector" => {
            let samples: Vec<Sample> = serde_json::from_value(data.result).map_err(malformed)?;
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

fn only(samples: Vec<Sample>) -> Result<Point, String> {
    match <[Sample; 1]>::try_from(samples) {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn of(result: &str) -> Outcome {
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
        let why = |outcome: Outcome| outcome.unwrap_err();
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
}
