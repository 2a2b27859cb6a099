//! Which process a connection of this machine comes from: that is how one client can be cut off alone, though all of them
//! were told the same address.

use std::fs;
use std::net::{IpAddr, SocketAddr};

/// Whether the process has the socket whose own address this is. Where that cannot be read, it has not.
pub(super) fn owns(pid: u32, address: SocketAddr) -> bool {
    let Some(inode) = inode_of(address) else {
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

/// The kernel's number of the socket whose own address this is.
fn inode_of(address: SocketAddr) -> Option<String> {
    let IpAddr::V4(ip) = address.ip() else {
        return None;
    };
    // As the kernel writes it: the address as the machine holds it in memory, in hexadecimal.
    let own = format!(
        "{:08X}:{:04X}",
        u32::from_ne_bytes(ip.octets()),
        address.port()
    );
    let table = fs::read_to_string("/proc/net/tcp").ok()?;
    let row = table
        .lines()
        .find(|row| row.split_whitespace().nth(1) == Some(own.as_str()))?;
    let inode = row.split_whitespace().nth(9)?;
    Some(inode.to_owned())
}
