//! Permits that take note, and that let a test act right before a flush is sent.

use std::sync::Mutex;

use async_trait::async_trait;
use stoke_worker::permit::{InFlight, Permit, Stopped};

/// Notes the tokens of each pass, and calls the hook with the number of passes before.
pub(crate) struct Watching<F> {
    passes: Mutex<Vec<u32>>,
    hook: F,
}

impl<F: Fn(usize) -> Result<(), Stopped>> Watching<F> {
    pub(crate) fn new(hook: F) -> Self {
        Self {
            passes: Mutex::default(),
            hook,
        }
    }

    /// The tokens of each pass so far.
    pub(crate) fn passes(&self) -> Vec<u32> {
        self.passes.lock().unwrap().clone()
    }
}

#[async_trait]
impl<F: Fn(usize) -> Result<(), Stopped> + Send + Sync> Permit for Watching<F> {
    async fn enter(&self) -> Result<InFlight, Stopped> {
        Ok(InFlight(None))
    }

    async fn pass(&self, tokens: u32) -> Result<(), Stopped> {
        let before = {
            let mut passes = self.passes.lock().unwrap();
            passes.push(tokens);
            passes.len() - 1
        };
        (self.hook)(before)
    }
}
