//! Which process a connection of this machine comes from: that is how one client can be cut off alone, though all of them
//! were told the same address.

use std::fs;
use std::net::{IpAddr, SocketAddr};

/// Whether the process has the socket that is connected from `own` to `peer`. Where that cannot be read, it has not.
pub(super) fn owns(pid: u32, own: SocketAddr, peer: SocketAddr) -> bool {
    let Some(inode) = inode_of(own, peer) else {
        return false;
    };
    let wanted = format!("socket:[{inode}]");
    let Ok(files) = fs::read_dir(format!("/proc/{pid}/fd")) else {
        return false;
    };
    files
        .flatten()
        .filter_map(|file| fs::read_link(file.path()).ok())
        .any(|target| target.to_str() == Some(wanted.as_str()))
}

/// How often the kernel's table is read before it counts as certain that a socket is not in it: while others come and go, a
/// reading can miss a row.
const READINGS_MAX: usize = 100;

/// The kernel's number of a socket. Both its ends are looked at: the port may be that of an older connection to somebody else,
/// too.
fn inode_of(own: SocketAddr, peer: SocketAddr) -> Option<String> {
    let (own, peer) = (as_the_kernel_writes(own)?, as_the_kernel_writes(peer)?);
    (0..READINGS_MAX).find_map(|_| {
        let table = fs::read_to_string("/proc/net/tcp").ok()?;
        let mut rows = table.lines().map(str::split_whitespace);
        rows.find_map(|mut row| {
            let is_it = row.nth(1) == Some(&own) && row.next() == Some(&peer);
            // The tenth column of the row.
            let inode = row.nth(6)?;
            is_it.then(|| inode.to_owned())
        })
    })
}

/// An address as the machine holds it in memory, in hexadecimal.
fn as_the_kernel_writes(address: SocketAddr) -> Option<String> {
    let IpAddr::V4(ip) = address.ip() else {
        return None;
    };
    let ip = u32::from_ne_bytes(ip.octets());
    Some(format!("{ip:08X}:{:04X}", address.port()))
}
