//! What a guard hears from a Prometheus: one number, or why there is none.
//!
//! Nothing is guessed: no sample, several, what is no finite number, an error and a slow answer are all no reading.

use std::time::Duration;

use stoke_core::guard::Outcome;
pub use stoke_prometheus::{NotAServer, Server};

/// The largest answer: one sample with all its labels takes a few kilobytes.
const ANSWER_BYTES_MAX: usize = 256 * 1024;

/// A query, whom to ask, and how often.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Query {
    /// Whom.
    pub server: Server,
    /// In PromQL.
    pub text: String,
    /// How often, and how long an answer may take.
    pub every: Duration,
}

/// Asks once, for as long as there is until the next time.
///
/// # Errors
/// Why there is no number; without the server's user and password.
pub async fn ask(query: &Query) -> Outcome {
    let asking = stoke_prometheus::ask(&query.server, &query.text, ANSWER_BYTES_MAX);
    match tokio::time::timeout(query.every, asking).await {
        Ok(Ok((status, body))) => stoke_prometheus::number(status, &body),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(format!(
            "no answer within its interval of {:?}",
            query.every
        )),
    }
}
