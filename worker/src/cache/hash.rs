//! Reading hashes, no further than is asked.

use bytes::Bytes;

use super::command::Command;
use super::{Cache, CommandError, answer};
use crate::permit::{Look, Permit, Stopped};

/// Some fields of a hash.
#[derive(Clone, Copy, Debug)]
pub struct HashFields<'a> {
    /// The key.
    pub key: &'a [u8],
    /// The fields, with the values that they should have.
    pub fields: &'a [(Bytes, Bytes)],
}

/// How large a hash is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HashSize {
    /// How many fields it has.
    pub fields: u64,
    /// How many bytes the values have of those fields that were asked for, in their order; 0 where there is no such field.
    pub values: Vec<u64>,
}

impl Cache {
    /// Of each hash: how many fields it has, and how long the values of these are. As [`Cache::probe_as`]; a key that is not there
    /// has no field, and no value.
    ///
    /// # Errors
    /// [`Stopped`] where the permit said so.
    pub async fn measure_hashes_as<'a>(
        &self,
        permit: &dyn Permit,
        hashes: &[HashFields<'a>],
    ) -> Result<Vec<Result<HashSize, CommandError>>, Stopped> {
        let mut commands = Vec::new();
        for &HashFields { key, fields } in hashes {
            commands.push(Command::CountFields { key });
            let measure = |(field, _): &'a (Bytes, Bytes)| Command::MeasureField { key, field };
            commands.extend(fields.iter().map(measure));
        }
        let answers = self.router.run(&Look(permit), &commands).await?;
        let mut answers = answers.into_iter();
        let count = |answer: Option<Result<redis::Value, CommandError>>| {
            answer.map_or(Ok(0), |answer| {
                answer.and_then(|reply| answer::count(&reply))
            })
        };
        let mut sizes = Vec::with_capacity(hashes.len());
        for hash in hashes {
            let fields = count(answers.next());
            // All of them are taken, whatever the first was: they belong to this hash.
            let values: Vec<_> = hash.fields.iter().map(|_| count(answers.next())).collect();
            sizes.push(fields.and_then(|fields| {
                let values = values.into_iter().collect::<Result<_, _>>()?;
                Ok(HashSize { fields, values })
            }));
        }
        Ok(sizes)
    }

    /// Reads the values of these fields of hashes, nothing where there is no such field. As [`Cache::peek_as`]; see
    /// [`Cache::measure_hashes_as`] for how much that will be.
    ///
    /// # Errors
    /// [`Stopped`] where the permit said so.
    pub async fn read_hashes_as(
        &self,
        permit: &dyn Permit,
        hashes: &[HashFields<'_>],
    ) -> Result<Vec<Result<Vec<Option<Bytes>>, CommandError>>, Stopped> {
        let read = |&HashFields { key, fields }: &_| Command::ReadFields { key, fields };
        let commands: Vec<_> = hashes.iter().map(read).collect();
        let answers = self.router.run(&Look(permit), &commands).await?;
        let values = |answer: Result<redis::Value, _>| answer.and_then(answer::values);
        Ok(answers.into_iter().map(values).collect())
    }
}
