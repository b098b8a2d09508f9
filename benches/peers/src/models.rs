//! Models of picks that cannot be linked here: an agent's walk along its list of nodes, and smooth
//! weighted round-robin. They are written for this program and work like the originals: each node
//! is its own linked piece of memory. A model must do no more than the original: what it leaves out
//! makes it faster, never slower.

use crate::lock::Locked;
use crate::measure::Pick;
use std::ptr;

/// About what an agent's node holds in addition to its link: name, host, options, the state of its
/// connections.
const NODE_REST: usize = 240;

pub struct Node {
    next: *mut Node,
    index: usize,
    weight: i64,
    effective_weight: i64,
    current_weight: i64,
    down: bool,
    _rest: [u8; NODE_REST],
}

/// Nodes in a ring, the usual intrusive list of C. The first one is the head and is never picked.
struct Ring {
    nodes: Vec<*mut Node>,
}

impl Ring {
    fn new(nodes: usize) -> Self {
        let node = |index| Node {
            next: ptr::null_mut(),
            index,
            weight: 1,
            effective_weight: 1,
            current_weight: 0,
            down: false,
            _rest: [0; NODE_REST],
        };
        // The head has the place past the end, so that counting would notice if it were picked.
        let places = std::iter::once(nodes).chain(0..nodes);
        let nodes: Vec<*mut Node> =
            places.map(|index| Box::into_raw(Box::new(node(index)))).collect();
        for (i, node) in nodes.iter().enumerate() {
            // SAFETY: allocated above, and no reference to it exists.
            unsafe { (**node).next = nodes[(i + 1) % nodes.len()] };
        }
        Ring { nodes }
    }

    fn head(&self) -> *mut Node {
        self.nodes[0]
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        for node in &self.nodes {
            // SAFETY: from `Box::into_raw`, freed once; the ring's users are gone.
            drop(unsafe { Box::from_raw(*node) });
        }
    }
}

/// One state and the pick that advances it.
pub trait Model: Send {
    fn pick(&mut self) -> *const Node;
}

/// Round-robin as an agent does it: the node after the last one.
pub struct List {
    // Owns the nodes to which the pointers lead.
    _ring: Ring,
    head: *mut Node,
    last: *mut Node,
}

// SAFETY: the ring belongs to the list and is reached only through `&mut self`.
unsafe impl Send for List {}

impl List {
    pub fn new(nodes: usize) -> Self {
        let ring = Ring::new(nodes);
        let head = ring.head();
        List { _ring: ring, head, last: head }
    }
}

impl Model for List {
    // A real call, as into an agent's library.
    #[inline(never)]
    fn pick(&mut self) -> *const Node {
        // SAFETY: every link leads to a node of the ring, which lives as long as self.
        unsafe {
            let mut next = (*self.last).next;
            if next == self.head {
                next = (*next).next;
            }
            self.last = next;
            next
        }
    }
}

/// Smooth weighted round-robin: every node gains its weight; the node that has most is picked and
/// pays the sum.
pub struct Smooth {
    ring: Ring,
}

// SAFETY: the ring belongs to it and is reached only through `&mut self`.
unsafe impl Send for Smooth {}

impl Smooth {
    pub fn new(nodes: usize) -> Self {
        Smooth { ring: Ring::new(nodes) }
    }
}

impl Model for Smooth {
    #[inline(never)]
    fn pick(&mut self) -> *const Node {
        let head = self.ring.head();
        let mut best: *mut Node = ptr::null_mut();
        let mut total = 0;
        // SAFETY: as in `List::pick`; one reference at a time, and none while `best` is used.
        unsafe {
            let mut at = (*head).next;
            while at != head {
                let node = &mut *at;
                let here = at;
                at = node.next;
                if node.down {
                    continue;
                }
                node.current_weight += node.effective_weight;
                total += node.effective_weight;
                // A node that failed gets its weight back step by step.
                if node.effective_weight < node.weight {
                    node.effective_weight += 1;
                }
                if best.is_null() || node.current_weight > (*best).current_weight {
                    best = here;
                }
            }
            if !best.is_null() {
                (*best).current_weight -= total;
            }
        }
        best
    }
}

/// A model that only one thread uses.
pub struct Bare<M>(pub M);

impl<M: Model> Pick for Bare<M> {
    type Node = *const Node;

    #[inline]
    fn pick(&mut self) -> *const Node {
        self.0.pick()
    }

    fn index(&self, node: &*const Node) -> usize {
        // SAFETY: a node of the model's ring, which lives as long as self.
        unsafe { (**node).index }
    }
}

/// One thread's handle on a model that threads share.
pub struct Shared<'a, M>(pub &'a Locked<M>);

impl<M: Model> Pick for Shared<'_, M> {
    type Node = *const Node;

    #[inline]
    fn pick(&mut self) -> *const Node {
        self.0.with(M::pick)
    }

    fn index(&self, node: &*const Node) -> usize {
        // SAFETY: a node of the model's ring, which lives as long as the lock; no thread writes the
        // index.
        unsafe { (**node).index }
    }
}
