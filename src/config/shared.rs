//! What the configurations of coordinators and workers have in common.

mod etcd;
mod telemetry;
mod timing;
mod tls;

use std::net::SocketAddr;
use std::time::Duration;

use super::reader::{Item, Table};

pub(super) use etcd::{Ttl, etcd};
pub(super) use telemetry::telemetry;
pub(super) use timing::{Times, timing};
pub(super) use tls::tls;

/// The longest timeout: PostgreSQL counts milliseconds in 32 bits.
pub(super) const TIMEOUT_MAX: Duration = Duration::from_secs(86_400);
/// The shortest.
pub(super) const TIMEOUT_MIN: Duration = Duration::from_millis(1);
/// How long a process that vanished may count as alive.
const TTL_MAX: Duration = Duration::from_secs(3600);

/// None where a setting is there and wrong.
pub(super) fn all_or_none<T>(setting: Option<Option<T>>) -> Option<Option<T>> {
    match setting {
        Some(found) => found.map(Some),
        None => Some(None),
    }
}

/// `password` or `password-file`.
pub(super) fn password(table: &Table<'_>) -> Option<Option<String>> {
    let (plain, file) = (table.optional("password"), table.optional("password-file"));
    password_of(table, plain, file)
}

/// A password that is written plainly, or in a file.
pub(super) fn password_of<'r>(
    table: &Table<'r>,
    plain: Option<Item<'r>>,
    file: Option<Item<'r>>,
) -> Option<Option<String>> {
    match (plain, file) {
        (None, None) => Some(None),
        (Some(password), None) => Some(Some(password.secret()?)),
        (None, Some(file)) => {
            let content = file.file()?;
            let password = content.trim_end_matches(['\r', '\n']);
            if password.trim().is_empty() {
                file.fault("the file is empty", "write the password into it");
                return None;
            }
            Some(Some(password.to_owned()))
        }
        (Some(password), Some(file)) => {
            table.contradiction(&password, &file, "keep one of them");
            None
        }
    }
}

/// How long a process that vanished counts as alive: whole seconds, as etcd's leases have them.
pub(super) fn whole_seconds(item: Option<&Item<'_>>) -> Option<Option<Duration>> {
    let Some(item) = item else {
        return Some(None);
    };
    let ttl = item.duration(Duration::from_secs(1)..=TTL_MAX)?;
    if ttl.subsec_nanos() != 0 {
        item.fault("it is not in whole seconds", "write it as \"5s\"");
        return None;
    }
    Some(Some(ttl))
}

/// `http-listen`: an address of its own, where the other one `listens`.
pub(super) fn http_listen(
    file: &Table<'_>,
    listens: Option<(&Item<'_>, SocketAddr)>,
) -> Option<Option<SocketAddr>> {
    let Some(item) = file.optional("http-listen") else {
        return Some(None);
    };
    let address = item.address()?;
    if let Some((other, taken)) = listens
        && same(address, taken)
    {
        let what = format!("it is the address of {}", other.named());
        item.fault(what, "choose another port");
        return None;
    }
    Some(Some(address))
}

/// Whether only one of two listeners can have its address. Port 0 is any that is free.
fn same(one: SocketAddr, other: SocketAddr) -> bool {
    let everywhere = one.ip().is_unspecified() || other.ip().is_unspecified();
    one.port() != 0 && one.port() == other.port() && (everywhere || one.ip() == other.ip())
}

#[cfg(test)]
mod tests;
