//! Values that are not final yet: written for some seconds, and kept or taken back once more is known.
//!
//! If nobody comes back to settle them, they are gone soon. Until then they count for nothing: who writes such a key again
//! overwrites what lives for no longer than they do.

use std::time::Duration;

use super::command::{Command, Keep};
use super::{Cache, CommandError, Item, WriteMode, WriteOutcome, answer};
use crate::permit::{Permit, Stopped};

/// How long a value lives that is not final yet (DESIGN §7).
pub const PROVISIONAL_TTL: Duration = Duration::from_secs(10);

impl Cache {
    /// As [`Cache::write`], for no longer than [`PROVISIONAL_TTL`]. In the modes that keep what is present, what has no longer to
    /// live than that is overwritten, too.
    ///
    /// # Errors
    /// [`Stopped`] where the permit said so: some of the items may have been written.
    pub async fn write_for_now(
        &self,
        permit: &dyn Permit,
        mode: WriteMode,
        items: &[Item],
    ) -> Result<Vec<WriteOutcome>, Stopped> {
        let keep = if mode.is_only_absent() {
            Keep::Longer(PROVISIONAL_TTL)
        } else {
            Keep::Nothing
        };
        let for_now = |item: &Item| Item {
            ttl: item.ttl.min(PROVISIONAL_TTL),
            ..item.clone()
        };
        let items: Vec<Item> = items.iter().map(for_now).collect();
        self.write_keeping(permit, keep, &items).await
    }

    /// Settles values: where a key still has the item's, it gets the item's time to live (`true`), or is deleted (`false`).
    /// Whether it still had it, for each, in their order.
    ///
    /// # Errors
    /// [`Stopped`] where the permit said so: some of them may have been settled.
    pub async fn settle(
        &self,
        permit: &dyn Permit,
        items: &[(&Item, bool)],
    ) -> Result<Vec<Result<bool, CommandError>>, Stopped> {
        let mut commands = Vec::with_capacity(items.len());
        for &(item, stays) in items {
            commands.push(Command::Settle {
                key: &item.key,
                value: &item.value,
                ttl: stays.then_some(item.ttl),
            });
        }
        let answers = self.router.run(permit, &commands).await?;
        let settled = |answer: Result<redis::Value, CommandError>| {
            answer.and_then(|reply| answer::settled(&reply))
        };
        Ok(answers.into_iter().map(settled).collect())
    }
}
