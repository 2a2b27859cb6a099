//! Asking a Prometheus over HTTP: one instant query, and what it answers.
//!
//! Coordinators ask for the number that a guard watches, workers for the series that are a key source. What is asked decides about
//! jobs, so nothing is guessed: an error and an answer that is not understood are none. A server's user, password and token are
//! sent, and never shown. Answers are limited in size; how long one may take is the caller's.

#![cfg_attr(
    test,
    allow(clippy::unwrap_used, reason = "a test that cannot go on should panic")
)]

mod answer;
mod ask;
mod server;

pub use answer::{Series, number, series};
pub use ask::{AskError, ask};
pub use server::{NotAServer, Server};
