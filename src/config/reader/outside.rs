//! Values that refer to something outside the file: environment variables and other files.

use std::path::{Path, PathBuf};

use super::Item;
use crate::config::surroundings::{NotExpanded, expand};

impl Item<'_> {
    /// A text that may be a secret, with its `${NAME}`s replaced.
    pub fn secret(&self) -> Option<String> {
        let expanded = expand(self.filled()?, self.reader.around.variable);
        let refused = |error| {
            let remedy = match &error {
                NotExpanded::Unset(_) => "set the variable for this process",
                _ => "write ${NAME}; a secret that has ${ in it belongs into a variable or a file",
            };
            self.fault(format!("{error}"), remedy);
        };
        let expanded = expanded.map_err(refused).ok()?;
        if expanded.trim().is_empty() {
            self.fault(
                "its variables are all empty",
                "give them values for this process",
            );
            return None;
        }
        Some(expanded)
    }

    /// The content of the file that this names.
    pub fn file(&self) -> Option<String> {
        let content = (self.reader.around.read)(&self.path()?);
        content.map_err(|error| self.unreadable(&error)).ok()
    }

    /// A file in PEM that has a block of this kind, as `CERTIFICATE`.
    pub fn pem(&self, kind: &str) -> Option<PathBuf> {
        let path = self.path()?;
        let content = self.file()?;
        let begins = |line: &str| line.starts_with("-----BEGIN ") && line.contains(kind);
        if !content.lines().any(begins) {
            let what = format!("the file has no {kind} in PEM");
            self.fault(
                what,
                format!("name a file with a line -----BEGIN {kind}-----"),
            );
            return None;
        }
        Some(path)
    }

    /// A file that can be opened, beside `folder` where its path is relative.
    pub fn file_beside(&self, folder: &Path) -> Option<PathBuf> {
        let path = folder.join(self.path()?);
        let opened = (self.reader.around.probe)(&path);
        opened.map_err(|error| self.unreadable(&error)).ok()?;
        Some(path)
    }

    fn unreadable(&self, error: &std::io::Error) {
        let what = format!("the file cannot be read: {error}");
        self.fault(what, "name a file that this process can read");
    }
}
