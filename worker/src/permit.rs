//! What whoever is about to send something to an origin or a cache must have.

use async_trait::async_trait;

/// The job must not send anything any more: it was aborted, or moved to another worker, or the worker stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("stopped")]
pub struct Stopped;

/// One place among a resource's queries in flight, given back when it is dropped.
#[derive(Debug)]
pub struct InFlight(pub Option<tokio::sync::OwnedSemaphorePermit>);

/// A job's permission to use one resource, renewed behind the scenes.
///
/// The order is: [`enter`](Permit::enter), take a connection, [`pass`](Permit::pass), send at once.
#[async_trait]
pub trait Permit: Send + Sync {
    /// Waits for a place among the queries in flight.
    ///
    /// # Errors
    /// [`Stopped`].
    async fn enter(&self) -> Result<InFlight, Stopped>;

    /// Waits for `tokens` tokens, one for each statement (or cache write), and looks once more whether the grant and
    /// the job's permit are in force. The caller sends right after, without waiting for anything in between.
    ///
    /// # Errors
    /// [`Stopped`].
    async fn pass(&self, tokens: u32) -> Result<(), Stopped>;

    /// As [`pass`](Permit::pass), and pays for so many rows: those that the statement is expected to bring, or, without
    /// a token, those that are about to be read. What is not limited in rows pays for none.
    ///
    /// # Errors
    /// [`Stopped`].
    async fn pass_expecting(&self, tokens: u32, rows: u64) -> Result<(), Stopped> {
        let _ = rows;
        self.pass(tokens).await
    }

    /// How many tokens may be taken at once, at least one: what is sent at once falls into one second.
    fn at_once(&self) -> u32 {
        u32::MAX
    }

    /// Where so many rows were paid for, so many came: the rest is given back, or owed.
    fn came(&self, paid: u64, rows: u64) {
        let _ = (paid, rows);
    }
}

/// A permit that is only looked at.
pub(crate) struct Look<'a>(pub(crate) &'a dyn Permit);

#[async_trait]
impl Permit for Look<'_> {
    async fn enter(&self) -> Result<InFlight, Stopped> {
        Ok(InFlight(None))
    }

    async fn pass(&self, _commands: u32) -> Result<(), Stopped> {
        self.0.pass(0).await
    }
}

/// No limit: for tests, and for caches without a budget in code that has no job.
#[derive(Clone, Copy, Debug, Default)]
pub struct Unlimited;

#[async_trait]
impl Permit for Unlimited {
    async fn enter(&self) -> Result<InFlight, Stopped> {
        Ok(InFlight(None))
    }

    async fn pass(&self, _tokens: u32) -> Result<(), Stopped> {
        Ok(())
    }
}
