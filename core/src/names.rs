//! The names of things that records, metrics and messages speak of.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A text that cannot be used as a name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a name: use 1 to {max} letters, digits, '-', '_' and '.', beginning with a letter or digit", max = NAME_LENGTH_MAX)]
pub struct NotAName(String);

/// The longest name, in bytes: names are parts of keys in the store.
pub const NAME_LENGTH_MAX: usize = 63;

/// Whether `text` may be a name, or a part of one between slashes.
fn check(text: &str) -> Result<(), NotAName> {
    let fine = (1..=NAME_LENGTH_MAX).contains(&text.len())
        && text.as_bytes()[0].is_ascii_alphanumeric()
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'));
    fine.then_some(())
        .ok_or_else(|| NotAName(text.chars().take(80).collect()))
}

/// Checks a label's key: a name, or two with a slash between them, of at most [`NAME_LENGTH_MAX`] bytes together.
///
/// # Errors
/// Where it is none.
pub fn check_label_key(key: &str) -> Result<(), NotAName> {
    let (first, second) = key.split_once('/').unwrap_or((key, "x"));
    check(first)?;
    check(second)?;
    if key.len() > NAME_LENGTH_MAX {
        return Err(NotAName(key.chars().take(80).collect()));
    }
    Ok(())
}

macro_rules! name {
    ($(#[$meta:meta])* $name:ident) => {
        $(#[$meta])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// The name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = NotAName;
            fn from_str(text: &str) -> Result<Self, NotAName> {
                check(text)?;
                Ok(Self(text.to_owned()))
            }
        }

        impl TryFrom<String> for $name {
            type Error = NotAName;
            fn try_from(text: String) -> Result<Self, NotAName> {
                check(&text)?;
                Ok(Self(text))
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

name! {
    /// A job, unique for good.
    JobName
}
name! {
    /// A worker: what its configuration calls it, and a random incarnation, so that one that restarts is another.
    WorkerName
}
name! {
    /// A loader.
    LoaderName
}
name! {
    /// An origin, as the workers' configuration calls it.
    OriginName
}
name! {
    /// A cache, as the workers' configuration calls it.
    CacheName
}
name! {
    /// A guard of a budget, as the coordinators' configuration calls it.
    GuardName
}
name! {
    /// A key source of the workers' configuration.
    SourceName
}
name! {
    /// A feed of reported accesses, as those call it who report.
    FeedName
}
name! {
    /// A probe of an origin, as the workers' configuration calls it.
    ProbeName
}

/// What a budget protects. As text: `origin/NAME` or `cache/NAME`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Resource {
    /// A database, budgeted in queries a second.
    Origin(OriginName),
    /// A Redis deployment, budgeted in writes a second.
    Cache(CacheName),
}

/// A text that names no resource.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotAResource {
    /// It begins with neither `origin/` nor `cache/`.
    #[error("{0:?} is not a resource: write origin/NAME or cache/NAME")]
    Kind(String),
    /// What follows is no name.
    #[error(transparent)]
    Name(#[from] NotAName),
}

impl FromStr for Resource {
    type Err = NotAResource;

    fn from_str(text: &str) -> Result<Self, NotAResource> {
        match text.split_once('/') {
            Some(("origin", name)) => Ok(Self::Origin(name.parse()?)),
            Some(("cache", name)) => Ok(Self::Cache(name.parse()?)),
            _ => Err(NotAResource::Kind(text.chars().take(80).collect())),
        }
    }
}

impl TryFrom<String> for Resource {
    type Error = NotAResource;

    fn try_from(text: String) -> Result<Self, NotAResource> {
        text.parse()
    }
}

impl From<Resource> for String {
    fn from(resource: Resource) -> Self {
        resource.to_string()
    }
}

impl fmt::Display for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Origin(name) => write!(f, "origin/{name}"),
            Self::Cache(name) => write!(f, "cache/{name}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_safe_parts_of_keys() {
        for fine in ["a", "shop-db", "w1.f3a9", "0_x"] {
            assert!(fine.parse::<JobName>().is_ok(), "{fine}");
        }
        for bad in ["", "-a", "a/b", "a b", "ä", ".hidden", &"x".repeat(64)] {
            assert!(bad.parse::<JobName>().is_err(), "{bad}");
        }
    }

    #[test]
    fn label_keys_are_names_or_two_with_a_slash() {
        for fine in ["team", "app.kubernetes.io/name"] {
            assert!(check_label_key(fine).is_ok(), "{fine}");
        }
        for bad in ["", "/", "a/", "/a", "a/b/c", "a b", "a=b", &"x".repeat(64)] {
            assert!(check_label_key(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn resources_survive_their_text() {
        for text in ["origin/shop", "cache/main"] {
            assert_eq!(text.parse::<Resource>().unwrap().to_string(), text);
        }
        assert!(matches!(
            "shop".parse::<Resource>(),
            Err(NotAResource::Kind(_))
        ));
        assert!(matches!(
            "origin/".parse::<Resource>(),
            Err(NotAResource::Name(_))
        ));
    }
}
