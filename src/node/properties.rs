//! The properties of a node as C reads them: strings made once, found in any letter case.

use std::ffi::{CStr, CString};

use crate::config::Property;
use crate::error::c_string;

/// Properties by name. Small by nature, so a scan over hashes beats a table.
#[derive(Debug)]
pub(super) struct Properties {
    hashes: Box<[u32]>,
    /// In the order of the definition.
    pub(super) entries: Box<[(CString, CString)]>,
}

impl Properties {
    pub(super) fn new(properties: &[Property]) -> Self {
        Properties {
            hashes: properties.iter().map(|property| hash(property.key.as_bytes())).collect(),
            entries: properties
                .iter()
                .map(|property| (c_string(&property.key), c_string(&property.value)))
                .collect(),
        }
    }

    pub(super) fn get(&self, key: &[u8]) -> Option<&CStr> {
        let wanted = hash(key);
        self.hashes.iter().zip(&self.entries).find_map(|(hash, (name, value))| {
            (*hash == wanted && name.as_bytes().eq_ignore_ascii_case(key)).then_some(value.as_c_str())
        })
    }
}

/// FNV-1a (Fowler, Noll, Vo; 32 bit) over the lower-case letters.
fn hash(key: &[u8]) -> u32 {
    key.iter().fold(0x811c_9dc5, |hash, byte| {
        (hash ^ u32::from(byte.to_ascii_lowercase())).wrapping_mul(0x0100_0193)
    })
}
