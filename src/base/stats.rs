//! The counters of a node, and their sums over a set. Relaxed atomics: exact, and no lock.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Makes everything that depends on the list of counters and gauges: the struct of a node's
/// counters, the struct of a reading, the sum of readings, and `reading_as!`, which copies a
/// reading into another struct with the same fields.
macro_rules! stats {
    ($dollar:tt
     counters { $($(#[$doc:meta])* $counter:ident,)* }
     gauges { $($(#[$gauge_doc:meta])* $gauge:ident,)* }) => {
        /// What has happened at one node since the set was made.
        #[derive(Debug, Default)]
        pub struct Counters { $($(#[$doc])* pub $counter: AtomicU64,)* }

        /// A reading of the counters and gauges, of a node or of a whole set.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct Snapshot {
            $($(#[$doc])* pub $counter: u64,)*
            $($(#[$gauge_doc])* pub $gauge: u64,)*
        }

        impl Snapshot {
            /// The counters of one node. The gauges are 0: their owners fill them in.
            pub fn of(counters: &Counters) -> Self {
                Snapshot { $($counter: counters.$counter.load(Relaxed),)* ..Snapshot::default() }
            }

            /// Adds another reading, field by field.
            pub fn add(&mut self, other: &Snapshot) {
                $(self.$counter += other.$counter;)*
                $(self.$gauge += other.$gauge;)*
            }
        }

        /// Makes another struct from the fields of a reading and the fields given here.
        macro_rules! reading_as {
            ($dollar reading:expr =>
             $dollar name:ident { $dollar($dollar field:ident: $dollar value:expr),* }) => {
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
        /// Connections made (TCP, and TLS if it is set).
        connects,
        /// Connections that could not be made.
        connects_failed,
        /// TLS handshakes completed.
        handshakes,
        /// Times a connection was taken from the pool.
        reused,
        /// Payload bytes handed to the system.
        bytes_out,
        /// Payload bytes received.
        bytes_in,
        /// Deliveries that succeeded here.
        deliveries,
        /// Deliveries that came here after they failed at another node.
        redeliveries,
        /// Of a node: attempts that failed there. Of a set: payloads that no node took.
        deliveries_failed,
    }
    gauges {
        /// Of a node: how often it was handed out. Of a set: how often any node was. The roster
        /// counts.
        picks,
        /// How often a node was ejected. The roster counts.
        ejections,
        /// Idle connections in the pool.
        idle,
        /// Connections in use.
        active,
        /// Nodes in the rotation.
        nodes_up,
        /// Nodes.
        nodes,
    }
}

#[allow(clippy::single_component_path_imports, reason = "lets other modules name the macro")]
pub(crate) use reading_as;

/// Adds one.
pub fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Relaxed);
}

/// Adds `n`.
pub fn add(counter: &AtomicU64, n: u64) {
    counter.fetch_add(n, Relaxed);
}
