//! What a guard hears from a real Prometheus.

use std::time::Duration;

use stoke_coordinator::prometheus::{Query, Server, ask};
use stoke_harness::{Prometheus, free_port};

#[tokio::test]
async fn a_real_prometheus_gives_one_number_or_the_reason_why_there_is_none() {
    let prometheus = Prometheus::start("global: {}\n").unwrap();
    let answer = async |text: &str| {
        let query = Query {
            server: Server::parse(&prometheus.url()).unwrap(),
            text: text.into(),
            every: Duration::from_secs(10),
        };
        ask(&query).await
    };
    assert_eq!(answer("vector(1.5)").await, Ok(1.5));
    assert_eq!(answer("2 * (1 + 2)").await, Ok(6.0));
    for (text, why) in [
        ("nobody_exports_this", "it gives no value"),
        (
            "label_replace(vector(1), \"a\", \"b\", \"\", \"\") or vector(2)",
            "it gives 2 values, not one: aggregate them",
        ),
        ("vector(0) / 0", "its value is NaN"),
        ("vector(1) / 0", "its value is inf"),
        ("\"text\"", "it gives no number: ask for one value"),
        ("vector(1)[5m:1m]", "it gives no number: ask for one value"),
    ] {
        assert_eq!(answer(text).await, Err(why.to_owned()), "{text}");
    }
    let refused = answer("max(").await.unwrap_err();
    assert!(refused.starts_with("it answers 400: "), "{refused}");
    let port = free_port().unwrap();
    let nobody = Query {
        server: Server::parse(&format!("http://me:pw@127.0.0.1:{port}")).unwrap(),
        text: "up".into(),
        every: Duration::from_secs(10),
    };
    let refused = ask(&nobody).await.unwrap_err();
    let expected = format!("cannot connect to 127.0.0.1:{port}: ");
    assert!(refused.starts_with(&expected), "{refused}");
}
