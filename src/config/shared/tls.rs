//! `ca-file`, `cert-file` and `key-file`: what TLS takes beside the system's certificates.

use std::path::PathBuf;

use crate::config::reader::Table;

/// The authorities' file, and those of the certificate and its key.
type Files = (Option<PathBuf>, Option<(PathBuf, PathBuf)>);

/// `ca-file`, `cert-file` and `key-file`. `unused` says why they would not be used, where that is so.
pub(in crate::config) fn tls(table: &Table<'_>, unused: Option<&str>) -> Option<Files> {
    let keys = ["ca-file", "cert-file", "key-file"];
    let [ca, cert, key] = keys.map(|key| table.optional(key));
    if let (Some(unused), Some(first)) = (unused, [&ca, &cert, &key].into_iter().flatten().next()) {
        let what = format!("it is not used: {unused}");
        first.lacks(what, "change the address, or remove it");
    }
    let [ca, cert, key] = [
        (ca, "CERTIFICATE"),
        (cert, "CERTIFICATE"),
        (key, "PRIVATE KEY"),
    ]
    .map(|(item, kind)| item.map(|item| (item.pem(kind), item)));
    let identity = match (cert, key) {
        (None, None) => None,
        (Some((cert, _)), Some((key, _))) => Some((cert?, key?)),
        (Some((_, item)), None) => {
            item.lacks("it stands without key-file", "add key-file, or remove it");
            return None;
        }
        (None, Some((_, item))) => {
            item.lacks("it stands without cert-file", "add cert-file, or remove it");
            return None;
        }
    };
    let ca = match ca {
        Some((path, _)) => Some(path?),
        None => None,
    };
    Some((ca, identity))
}
