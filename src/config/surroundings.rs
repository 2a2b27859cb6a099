//! What a file refers to outside itself: environment variables and other files.

use std::fmt;
use std::fs::File;
use std::io;
use std::path::Path;

/// Where variables and files come from; another one in tests.
pub struct Surroundings<'a> {
    /// The value of an environment variable.
    pub variable: &'a dyn Fn(&str) -> Option<String>,
    /// The content of a file.
    pub read: &'a dyn Fn(&Path) -> io::Result<String>,
    /// Whether a file can be opened, for those that are too large to be read here.
    pub probe: &'a dyn Fn(&Path) -> io::Result<()>,
}

impl Surroundings<'static> {
    /// This process' environment and file system.
    #[must_use]
    pub fn of_process() -> Self {
        Self {
            variable: &|name| std::env::var(name).ok(),
            read: &|path| std::fs::read_to_string(path),
            probe: &|path| {
                let found = std::fs::metadata(path)?;
                if found.is_dir() {
                    return Err(io::ErrorKind::IsADirectory.into());
                }
                // A pipe is left alone: whoever writes to it would find it closed.
                if found.is_file() {
                    File::open(path)?;
                }
                Ok(())
            },
        }
    }
}

#[cfg(test)]
impl Surroundings<'static> {
    /// Every variable but `UNSET` is "s3cret"; files in PEM have both certificate and key, `/url` has a URL, `/missing` is
    /// not there, and all others have a password.
    pub fn of_tests() -> Self {
        Self {
            variable: &|name| (name != "UNSET").then(|| "s3cret".to_owned()),
            read: &|path| match path.to_str() {
                Some("/missing") => Err(io::ErrorKind::NotFound.into()),
                Some(path) if path.ends_with(".pem") => {
                    Ok("-----BEGIN CERTIFICATE-----\n-----BEGIN PRIVATE KEY-----\n".to_owned())
                }
                Some(path) if path.ends_with("url") => {
                    Ok("postgres://u:s3cret@db/shop\n".to_owned())
                }
                _ => Ok("s3cret\n".to_owned()),
            },
            probe: &|path| match path.to_str() {
                Some("/missing") => Err(io::ErrorKind::NotFound.into()),
                _ => Ok(()),
            },
        }
    }
}

/// `text` with each `${NAME}` replaced by the variable's value. The value is put in as it is: what a URL wants
/// percent-encoded must be so in the variable.
///
/// # Errors
/// A variable that is not set, or a `${` that is not closed.
pub(super) fn expand(
    text: &str,
    variable: &dyn Fn(&str) -> Option<String>,
) -> Result<String, NotExpanded> {
    let mut expanded = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("${") {
        let (name, after) = after.split_once('}').ok_or(NotExpanded::Open)?;
        let named = |char: char| char.is_ascii_alphanumeric() || char == '_';
        if name.is_empty() || !name.chars().all(named) {
            // Not repeated: behind a "${" that was meant literally may be a password.
            return Err(NotExpanded::NotAName);
        }
        expanded.push_str(before);
        expanded.push_str(&variable(name).ok_or_else(|| NotExpanded::Unset(name.to_owned()))?);
        rest = after;
    }
    expanded.push_str(rest);
    Ok(expanded)
}

/// Why a `${NAME}` has no value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum NotExpanded {
    Unset(String),
    Open,
    NotAName,
}

impl fmt::Display for NotExpanded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unset(name) => write!(f, "the environment variable {name:?} is not set"),
            Self::Open => f.write_str("a ${ is not closed"),
            Self::NotAName => f.write_str("between ${ and } is no name of a variable"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_are_put_in_as_they_are() {
        let variable = |name: &str| (name == "A").then(|| "${B}".to_owned());
        assert_eq!(expand("x${A}y${A}$", &variable).unwrap(), "x${B}y${B}$");
        assert_eq!(
            expand("${B}", &variable),
            Err(NotExpanded::Unset("B".into()))
        );
        assert_eq!(expand("${A", &variable), Err(NotExpanded::Open));
        assert_eq!(expand("${a:b}", &variable), Err(NotExpanded::NotAName));
    }
}
