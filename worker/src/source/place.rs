//! Where a key file or a log lies, opened: a path of this machine, or the URL of an object.
//!
//! URLs of objects take the cargo feature `object-stores`; `file:` is this machine's, whatever the program is built with.

use std::borrow::Cow;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use percent_encoding::percent_decode_str;
use stoke_core::place::{self, ObjectUrl};

use super::Sink;

/// What is said where a URL takes a feature that the program lacks.
#[cfg(not(feature = "object-stores"))]
const NOT_BUILT: &str = "this program is built without object stores: build it with the feature object-stores, or copy the object to \
                         the worker's machine";

/// Where it lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place<'a> {
    /// On this machine.
    Path(Cow<'a, Path>),
    /// In a store.
    Object(ObjectUrl<'a>),
}

impl<'a> Place<'a> {
    /// What a name stands for.
    ///
    /// # Errors
    /// Where it is a URL that cannot be asked for.
    pub(super) fn of(name: &'a Path) -> io::Result<Self> {
        let url = name.to_str().map(ObjectUrl::of).transpose();
        let url = url.map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
        match url.flatten() {
            None => Ok(Self::Path(name.into())),
            Some(url) if url.scheme == "file" => {
                let path = percent_decode_str(url.key).decode_utf8();
                let path = path.map_err(|_| {
                    let what = "its path is not UTF-8: name it by its path";
                    io::Error::new(io::ErrorKind::InvalidInput, what)
                })?;
                Ok(Self::Path(PathBuf::from(format!("/{path}")).into()))
            }
            Some(url) => Ok(Self::Object(url)),
        }
    }
}

/// A name as it can be shown.
pub(super) fn shown(name: &Path) -> PathBuf {
    match name.to_str() {
        Some(text) => PathBuf::from(place::shown(text).as_ref()),
        None => name.to_owned(),
    }
}

/// The content, from its beginning on, as long as `sink` takes rows.
pub(super) fn open(name: &Path, sink: &Sink) -> io::Result<Box<dyn Read>> {
    Ok(match Place::of(name)? {
        Place::Path(path) => Box::new(File::open(path)?),
        #[cfg(feature = "object-stores")]
        Place::Object(url) => Box::new(super::objects::Object::open(&url, sink)?.stream()),
        #[cfg(not(feature = "object-stores"))]
        Place::Object(_) => {
            let _ = sink;
            return Err(not_built());
        }
    })
}

/// The names of the objects that a pattern's are; the pattern's own where it has no wildcard.
pub(super) fn matching(pattern: &ObjectUrl<'_>, sink: &Sink) -> io::Result<Vec<String>> {
    #[cfg(feature = "object-stores")]
    return super::objects::matching(pattern, sink);
    #[cfg(not(feature = "object-stores"))]
    {
        let _ = (pattern, sink);
        Err(not_built())
    }
}

#[cfg(not(feature = "object-stores"))]
pub(super) fn not_built() -> io::Error {
    io::Error::new(io::ErrorKind::Unsupported, NOT_BUILT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_of_a_file_is_its_path() {
        for (name, path) in [
            ("keys.csv", "keys.csv"),
            ("file:///var/a%20b.csv", "/var/a b.csv"),
            ("file:/var/log/access.log*", "/var/log/access.log*"),
        ] {
            let place = Place::of(Path::new(name)).unwrap();
            assert_eq!(place, Place::Path(Path::new(path).into()), "{name}");
        }
        assert!(matches!(
            Place::of(Path::new("s3://bucket/keys.csv")).unwrap(),
            Place::Object(_)
        ));
        let error = Place::of(Path::new("s3://me:SECRET@bucket/keys.csv")).unwrap_err();
        assert!(!error.to_string().contains("SECRET"), "{error}");
    }

    #[cfg(not(feature = "object-stores"))]
    #[test]
    fn an_object_is_refused_by_the_name_of_the_feature_that_is_missing() {
        let (sink, _rows) = tokio::sync::mpsc::channel(1);
        let url = Path::new("s3://bucket/keys.csv");
        let error = open(url, &sink).err().unwrap().to_string();
        assert!(error.contains("feature object-stores"), "{error}");
    }
}
