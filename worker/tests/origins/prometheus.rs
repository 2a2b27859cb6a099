//! Series of a Prometheus as key sources: a real one, and what answers in its place.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::time::Duration;

use stoke_core::job::OnBadLine;
use stoke_core::usage::Series;
use stoke_harness::Prometheus;
use stoke_worker::catalog::{PrometheusOrigin, Server};
use stoke_worker::origin::{Origin, OriginError};
use stoke_worker::permit::Unlimited;
use stoke_worker::source::{Gathered, Rules};

use crate::redis_origins::scanned::{rules, taken};
use crate::{Tokens, loader};

fn origin(url: &str, source_timeout: Duration) -> Origin {
    Origin::open_prometheus(&PrometheusOrigin {
        name: "metrics".parse().unwrap(),
        server: Server::parse(url).unwrap(),
        statement_timeout: Duration::from_secs(5),
        source_timeout,
    })
}

fn source(query: &str, key_label: Option<&str>) -> Series {
    Series {
        origin: "metrics".parse().unwrap(),
        query: query.into(),
        key_label: key_label.map(str::to_owned),
    }
}

type Rows = Vec<(String, String, u64)>;

async fn read(origin: &Origin, source: &Series, rules: &Rules) -> Result<(Rows, Gathered), String> {
    taken(async |sink| origin.series(&Unlimited, source, rules, sink).await).await
}

async fn fails(origin: &Origin, query: &str) -> OriginError {
    let (sink, _chunks) = tokio::sync::mpsc::channel(1);
    let rules = rules("{key}", OnBadLine::Fail);
    let read = origin
        .series(&Unlimited, &source(query, None), &rules, sink)
        .await;
    read.unwrap_err()
}

/// Serves this answer to whoever asks, until the process ends; what it was asked comes back over the channel.
fn serve(answer: Vec<u8>) -> (String, std::sync::mpsc::Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (heard, asked) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut request = vec![0; 64 * 1024];
            let length = stream.read(&mut request).unwrap_or_default();
            let _ = heard.send(String::from_utf8_lossy(&request[..length]).into_owned());
            // Whoever has heard enough leaves.
            let _ = stream.write_all(&answer);
        }
    });
    (url, asked)
}

fn http(status: &str, body: &str) -> Vec<u8> {
    format!(
        "HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .into()
}

const QUERY: &str = r#"label_replace(vector(7), "product", "a", "", "") or label_replace(vector(2.5), "product", "b", "", "")"#;

#[tokio::test]
async fn each_series_is_a_row_of_its_labels_with_its_number() {
    let prometheus = Prometheus::start("global: {}\n").unwrap();
    let from = origin(&prometheus.url(), Duration::from_secs(10));
    let strict = rules("product:{key}", OnBadLine::Fail);
    let (rows, gathered) = read(&from, &source(QUERY, None), &strict).await.unwrap();
    let row = |id: &str, milli| (format!("product:{id}"), id.to_owned(), milli);
    assert_eq!(rows, [row("a", 7000), row("b", 2500)]);
    assert_eq!(gathered.rows, 2);
    let labelled = rules("product:{product}", OnBadLine::Fail);
    let (rows, _) = read(&from, &source(QUERY, Some("product")), &labelled)
        .await
        .unwrap();
    assert_eq!(rows, [row("a", 7000), row("b", 2500)]);
    let none = read(&from, &source("nobody_exports_this", None), &strict)
        .await
        .unwrap();
    assert_eq!(none.1.rows, 0);
    let odd = format!(
        "{QUERY} or label_replace(vector(0) / 0, \"product\", \"c\", \"\", \"\") or label_replace(vector(-1), \"product\", \"d\", \"\", \"\")"
    );
    let skipping = rules("product:{key}", OnBadLine::Skip);
    let (rows, gathered) = read(&from, &source(&odd, None), &skipping).await.unwrap();
    assert_eq!((rows.len(), gathered.bad_lines), (2, 2));
    assert!(
        gathered
            .examples
            .iter()
            .any(|example| example.contains("\"NaN\" is not a number")),
        "{gathered:?}"
    );
    let refused = read(&from, &source(&odd, None), &strict).await.unwrap_err();
    assert!(
        refused.contains("is not a number from 0") && refused.contains("product"),
        "{refused}"
    );
    let bad = fails(&from, "max(").await;
    assert!(
        !bad.is_transient() && bad.explain().contains("it answers 400"),
        "{}",
        bad.explain()
    );
    let scalar = fails(&from, "7").await;
    assert!(
        !scalar.is_transient() && scalar.explain().contains("ask for a vector"),
        "{}",
        scalar.explain()
    );
    from.reach(&Unlimited).await.unwrap();
    from.canary(&Unlimited, "").await.unwrap();
}

#[tokio::test]
async fn a_query_takes_one_token_and_nothing_is_loaded_from_there() {
    let body = r#"{"status":"success","data":{"resultType":"vector","result":[{"metric":{"id":"7"},"value":[1,"1"]}]}}"#;
    let (url, asked) = serve(http("200 OK", body));
    let (tokens, from) = (Tokens::default(), origin(&url, Duration::from_secs(5)));
    let rules = rules("{key}", OnBadLine::Fail);
    let one = source("up", None);
    let read = taken(async |sink| from.series(&tokens, &one, &rules, sink).await).await;
    assert_eq!(read.unwrap().0, [("7".to_owned(), "7".to_owned(), 1000)]);
    assert_eq!((tokens.taken(), from.queries()), (1, 1));
    assert!(
        asked
            .recv()
            .unwrap()
            .starts_with("GET /api/v1/query?query=up HTTP/1.1")
    );
    let sql = loader("SELECT * FROM t WHERE id IN (:keys)");
    let error = from.prepare(&Unlimited, &sql).await.unwrap_err();
    assert!(
        error.explain().contains("nothing is loaded from it"),
        "{}",
        error.explain()
    );
    tokens
        .stopped
        .store(true, std::sync::atomic::Ordering::Relaxed);
    let (sink, _chunks) = tokio::sync::mpsc::channel(1);
    let stopped = from.series(&tokens, &one, &rules, sink).await.unwrap_err();
    assert!(stopped.is_stopped() && asked.try_recv().is_err());
}

#[tokio::test]
async fn what_answers_too_much_too_late_or_nonsense_says_so_and_whether_it_may_pass() {
    let from = |answer: Vec<u8>| origin(&serve(answer).0, Duration::from_secs(10));
    let endless = [
        &b"HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\n"[..],
        &vec![b' '; 40 << 20],
    ]
    .concat();
    let error = fails(&from(endless), "up").await;
    assert!(
        !error.is_transient() && error.explain().contains("topk"),
        "{}",
        error.explain()
    );
    for (answer, transient, says) in [
        (http("200 OK", "<html>"), false, "not Prometheus"),
        (http("503 Service Unavailable", ""), true, "503"),
        (http("401 Unauthorized", "who are you?"), false, "401"),
        (b"220 smtp ready\r\n".to_vec(), true, "cannot ask"),
        (Vec::new(), true, "cannot ask"),
        (
            b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n{".to_vec(),
            true,
            "cannot read",
        ),
    ] {
        let error = fails(&from(answer), "up").await;
        assert_eq!(error.is_transient(), transient, "{}", error.explain());
        assert!(error.explain().contains(says), "{}", error.explain());
    }
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://me:secret@{}", silent.local_addr().unwrap());
    let error = fails(&origin(&url, Duration::from_millis(300)), "up").await;
    let said = error.explain();
    assert!(
        error.is_transient() && said.contains("300ms") && !said.contains("secret"),
        "{said}"
    );
    drop(silent);
    let error = fails(&origin(&url, Duration::from_secs(5)), "up").await;
    let said = error.explain();
    assert!(
        error.is_transient() && said.contains("cannot connect") && !said.contains("secret"),
        "{said}"
    );
}
