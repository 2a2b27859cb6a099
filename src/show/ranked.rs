//! A ranked list of keys: the columns of a key source, and how often each key was asked for.

use stoke_core::units::Priority;

use super::entries::csv;
use super::number::milli;
use crate::args::ExportFormat;

/// The column that says how often.
const PRIORITY: &str = "priority";

/// The columns that make a key. Of one column its value is the key as it is ranked; the values of several are packed into one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Columns(Vec<String>);

impl Columns {
    /// These.
    pub fn new(names: impl IntoIterator<Item = String>) -> Self {
        Self(names.into_iter().collect())
    }

    /// The values of a row, by name.
    ///
    /// # Errors
    /// The column that it does not have.
    pub fn pack<'r>(
        &self,
        value: impl Fn(&str) -> Option<&'r str>,
        packed: &mut Vec<u8>,
    ) -> Result<(), &str> {
        packed.clear();
        let last = self.0.len().saturating_sub(1);
        for (n, name) in self.0.iter().enumerate() {
            let value = value(name).ok_or(name.as_str())?;
            if n < last {
                // No line is as long as this can be.
                let length = u32::try_from(value.len()).unwrap_or(u32::MAX);
                packed.extend_from_slice(&length.to_be_bytes());
            }
            packed.extend_from_slice(value.as_bytes());
        }
        Ok(())
    }

    /// The values, in the order of the columns.
    fn unpack<'p>(&self, mut packed: &'p [u8]) -> Vec<&'p [u8]> {
        let mut values = Vec::with_capacity(self.0.len());
        while values.len() + 1 < self.0.len()
            && let Some((length, rest)) = packed.split_first_chunk()
            && let Some((value, rest)) = rest.split_at_checked(u32::from_be_bytes(*length) as usize)
        {
            values.push(value);
            packed = rest;
        }
        values.push(packed);
        values
    }
}

/// Writes a list, a line for each key.
#[derive(Debug)]
pub struct Lines {
    format: ExportFormat,
    columns: Columns,
}

impl Lines {
    /// Of keys of these columns.
    pub const fn new(format: ExportFormat, columns: Columns) -> Self {
        Self { format, columns }
    }

    /// What stands before the first line.
    pub fn head(&self) -> Vec<u8> {
        let ExportFormat::Csv = self.format else {
            return Vec::new();
        };
        let names = self.columns.0.iter().map(String::as_str);
        let names: Vec<&str> = names.chain([PRIORITY]).collect();
        csv(Some(&names), [])
    }

    /// Some keys, as they were packed, with their priorities.
    pub fn keys<'k>(&self, keys: impl Iterator<Item = (&'k [u8], Priority)>) -> Vec<u8> {
        match self.format {
            ExportFormat::Csv => csv(None, keys.map(|(key, priority)| self.record(key, priority))),
            ExportFormat::Json => keys
                .flat_map(|(key, priority)| self.object(key, priority).into_bytes())
                .collect(),
        }
    }

    fn record(&self, key: &[u8], priority: Priority) -> Vec<Vec<u8>> {
        let values = self.columns.unpack(key).into_iter().map(<[u8]>::to_vec);
        values
            .chain([milli(priority.as_milli()).into_bytes()])
            .collect()
    }

    fn object(&self, key: &[u8], priority: Priority) -> String {
        let quoted = |text: &str| serde_json::Value::from(text).to_string();
        let values = self.columns.unpack(key);
        let members = self.columns.0.iter().zip(values).map(|(name, value)| {
            // All of them came as text.
            let value = String::from_utf8_lossy(value);
            format!("{}:{},", quoted(name), quoted(&value))
        });
        let members: String = members.collect();
        let priority = milli(priority.as_milli());
        format!("{{{members}\"{PRIORITY}\":{priority}}}\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn columns(names: &[&str]) -> Columns {
        Columns::new(names.iter().map(|name| (*name).to_owned()))
    }

    fn packed<'c>(
        columns: &'c Columns,
        values: &[(&str, &'static str)],
    ) -> Result<Vec<u8>, &'c str> {
        let mut packed = vec![7];
        let value = |name: &str| {
            values
                .iter()
                .find(|(known, _)| *known == name)
                .map(|(_, v)| *v)
        };
        columns.pack(value, &mut packed).map(|()| packed)
    }

    #[test]
    fn a_list_is_a_key_file() {
        let one = columns(&["key"]);
        let key = packed(&one, &[("key", "a,\"b")]).unwrap();
        assert_eq!(key, b"a,\"b");
        let csv = Lines::new(ExportFormat::Csv, one.clone());
        let list = [
            csv.head(),
            csv.keys([(&key[..], Priority::from_milli(2500))].into_iter()),
        ];
        assert_eq!(list.concat(), b"key,priority\n\"a,\"\"b\",2.5\n");
        let json = Lines::new(ExportFormat::Json, one);
        assert_eq!(json.head(), b"");
        assert_eq!(
            json.keys([(&key[..], Priority::ONE)].into_iter()),
            b"{\"key\":\"a,\\\"b\",\"priority\":1}\n"
        );
    }

    #[test]
    fn a_key_of_several_columns_comes_apart_again() {
        let three = columns(&["tenant", "a", "id"]);
        let values = [("id", "7"), ("tenant", "eu"), ("a", "")];
        let key = packed(&three, &values).unwrap();
        let csv = Lines::new(ExportFormat::Csv, three.clone());
        let list = [
            csv.head(),
            csv.keys([(&key[..], Priority::ONE)].into_iter()),
        ];
        assert_eq!(list.concat(), b"tenant,a,id,priority\neu,,7,1\n");
        assert_eq!(packed(&three, &values[..2]), Err("a"), "it lacks one");
        // Which is no key of this list, and no reason to panic.
        for cut in 0..key.len() {
            let _ = csv.keys([(&key[..cut], Priority::ONE)].into_iter());
        }
    }
}
