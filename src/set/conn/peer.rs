//! The address of the other end of a connection.

use crate::base::error::{Error, Status};
use crate::set::conn::Conn;

/// A buffer of so many bytes has room for the address of every peer, with the NUL that ends it.
const ROOM_FOR_ALL: usize = 64;

impl Conn {
    /// Writes the address of the other end as a C string to `buffer`. If that is too small, the
    /// last error says how much is needed, and `buffer` holds an empty string.
    pub fn peer(&mut self, buffer: &mut [u8]) -> Status {
        if let Some(first) = buffer.first_mut() {
            *first = 0;
        }
        let Some(peer) = self.channel().map(|channel| channel.peer().to_string()) else {
            return self.deny("upstream_conn_peer: the connection is not ready, or has ended");
        };
        let Some(room) = buffer.get_mut(..=peer.len()) else {
            return self.deny(&format!(
                "upstream_conn_peer: the buffer has {} bytes, and \"{peer}\" with its NUL needs \
                 {}; give a buffer of {ROOM_FOR_ALL} bytes, which is enough for every peer",
                buffer.len(),
                peer.len() + 1
            ));
        };
        room[..peer.len()].copy_from_slice(peer.as_bytes());
        room[peer.len()] = 0;
        Status::Ok
    }

    /// Refuses a call that has nothing to do with the stream.
    fn deny(&mut self, cause: &str) -> Status {
        self.last_error = Some(Box::new(Error::new(Status::InvalidArg, cause).into()));
        Status::InvalidArg
    }
}
