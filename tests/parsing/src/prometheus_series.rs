//! Answers of a Prometheus.

/// Whatever it answers, each series has no more labels than it has bytes, and the one number of an answer is finite.
///
/// # Panics
/// Where that is not so.
pub fn prometheus_series(bytes: &[u8]) {
    if let Ok(all) = stoke_prometheus::series(200, bytes) {
        for series in all.flatten() {
            assert!(series.labels.len() <= series.written.len());
            assert!(bytes.len() >= series.written.len());
        }
    }
    if let Ok(number) = stoke_prometheus::number(200, bytes) {
        assert!(number.is_finite());
    }
    let refused = stoke_prometheus::series(503, bytes).map(drop);
    assert!(refused.expect_err("it is no success").is_transient());
}
