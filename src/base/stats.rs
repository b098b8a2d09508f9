//! Counters of a node, and their sums over a set. Plain relaxed atomics: exact, never a lock.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Makes of one list of counters and gauges all that is made of each: the counters of a node, a
/// reading of all, its sum, and `reading_as!`, which makes another struct with the same fields of
/// it.
macro_rules! stats {
    ($dollar:tt
     counters { $($(#[$doc:meta])* $counter:ident,)* }
     gauges { $($(#[$gauge_doc:meta])* $gauge:ident,)* }) => {
        /// What has happened at one node since the set was made.
        #[derive(Debug, Default)]
        pub struct Counters { $($(#[$doc])* pub $counter: AtomicU64,)* }

        /// A reading of the counters and gauges, of a node or of a whole set.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct Snapshot { $($(#[$doc])* pub $counter: u64,)* $($(#[$gauge_doc])* pub $gauge: u64,)* }

        impl Snapshot {
            /// The counters of one node, without what is kept elsewhere.
            pub fn of(counters: &Counters) -> Self {
                Snapshot { $($counter: counters.$counter.load(Relaxed),)* ..Snapshot::default() }
            }

            /// Adds another reading, field by field.
            pub fn add(&mut self, other: &Snapshot) {
                $(self.$counter += other.$counter;)*
                $(self.$gauge += other.$gauge;)*
            }
        }

        /// Another struct with the fields of a reading, and these besides.
        macro_rules! reading_as {
            ($dollar reading:expr => $dollar name:ident { $dollar($dollar field:ident: $dollar value:expr),* }) => {
                $dollar name {
                    $dollar($dollar field: $dollar value,)*
                    $($counter: $dollar reading.$counter,)*
                    $($gauge: $dollar reading.$gauge,)*
                }
            };
        }
    };
}

stats! { $
    counters {
        /// Connections made (TCP, and TLS where it is set).
        connects,
        /// Connections that could not be made.
        connects_failed,
        /// TLS handshakes finished.
        handshakes,
        /// Times a connection was taken from the pool.
        reused,
        /// Payload bytes handed to the system.
        bytes_out,
        /// Payload bytes received.
        bytes_in,
        /// Deliveries that ended well here.
        deliveries,
        /// Deliveries that came here after failing elsewhere.
        redeliveries,
        /// Of a node: attempts that failed there. Of a set: payloads that no node took.
        deliveries_failed,
    }
    gauges {
        /// Times the node (any node) was handed out; the roster counts them.
        picks,
        /// Times a node was taken out of the rotation; the roster counts them.
        ejections,
        /// Connections lying in the pool.
        idle,
        /// Connections in use.
        active,
        /// Nodes in the rotation.
        nodes_up,
        /// Nodes.
        nodes,
    }
}

#[allow(clippy::single_component_path_imports, reason = "by this others can name the macro")]
pub(crate) use reading_as;

/// Adds one.
pub fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Relaxed);
}

/// Adds `n`.
pub fn add(counter: &AtomicU64, n: u64) {
    counter.fetch_add(n, Relaxed);
}
