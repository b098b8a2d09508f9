//! IPv4 or IPv6.

use std::net::IpAddr;

/// A family of addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::net) enum Family {
    V4,
    V6,
}

impl Family {
    pub(in crate::net) const BOTH: [Family; 2] = [Family::V4, Family::V6];

    pub(in crate::net) fn of(address: IpAddr) -> Family {
        if address.is_ipv4() { Family::V4 } else { Family::V6 }
    }

    /// The other one.
    pub(in crate::net) fn other(self) -> Family {
        match self {
            Family::V4 => Family::V6,
            Family::V6 => Family::V4,
        }
    }
}
