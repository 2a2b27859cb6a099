//! Network addresses from PostgreSQL's binary form into its text.

use std::io::Write;
use std::net::{Ipv4Addr, Ipv6Addr};

use super::value::Fault;

const FAMILY_IPV4: u8 = 2;
const FAMILY_IPV6: u8 = 3;

/// `inet` or `cidr`: family, netmask bits, whether it is a `cidr`, length, address.
pub(super) fn inet(bytes: &[u8], out: &mut Vec<u8>) -> Result<(), Fault> {
    let [family, bits, cidr, _, address @ ..] = bytes else {
        return Err(Fault::Malformed);
    };
    let all_bits = match *family {
        FAMILY_IPV4 => {
            let address: [u8; 4] = address.try_into().map_err(|_| Fault::Malformed)?;
            let _ = write!(out, "{}", Ipv4Addr::from(address));
            32
        }
        FAMILY_IPV6 => {
            let address: [u8; 16] = address.try_into().map_err(|_| Fault::Malformed)?;
            ipv6(Ipv6Addr::from(address), out);
            128
        }
        _ => return Err(Fault::Malformed),
    };
    if *cidr != 0 || *bits != all_bits {
        let _ = write!(out, "/{bits}");
    }
    Ok(())
}

/// Where exactly six groups lead with zero, PostgreSQL writes the last two as an IPv4 address, as it was once usual.
fn ipv6(address: Ipv6Addr, out: &mut Vec<u8>) {
    let groups = address.segments();
    let octets = address.octets();
    let _ = if groups[..6] == [0; 6] && groups[6] != 0 {
        write!(
            out,
            "::{}.{}.{}.{}",
            octets[12], octets[13], octets[14], octets[15]
        )
    } else {
        write!(out, "{address}")
    };
}

/// `macaddr` or `macaddr8`.
pub(super) fn macaddr(bytes: &[u8], out: &mut Vec<u8>) {
    for (i, byte) in bytes.iter().enumerate() {
        let colon = if i > 0 { ":" } else { "" };
        let _ = write!(out, "{colon}{byte:02x}");
    }
}
