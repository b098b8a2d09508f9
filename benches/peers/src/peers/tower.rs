//! tower's `p2c::Balance` over a fixed list of services that are always ready and answer at once
//! with their place. It takes `&mut self`: threads that share it need a mutex, one thread alone
//! needs none. The load is constant, which is the cheapest. A call's future is polled outside the
//! mutex.

use crate::measure::Pick;
use std::convert::Infallible;
use std::future::{Future, Ready, ready};
use std::pin::pin;
use std::sync::Mutex;
use std::task::{Context, Poll, Waker};
use tower::Service;
use tower::balance::p2c::Balance;
use tower::discover::ServiceList;
use tower::load::Constant;

pub struct Node(usize);

impl Service<()> for Node {
    type Response = usize;
    type Error = Infallible;
    type Future = Ready<Result<usize, Infallible>>;

    #[inline]
    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    #[inline]
    fn call(&mut self, (): ()) -> Self::Future {
        ready(Ok(self.0))
    }
}

type Nodes = Balance<ServiceList<Vec<Constant<Node, u32>>>, ()>;

pub fn balance(nodes: usize) -> Nodes {
    let services = (0..nodes).map(|index| Constant::new(Node(index), 0));
    Balance::new(ServiceList::new::<()>(services.collect::<Vec<_>>()))
}

pub fn shared(nodes: usize) -> Mutex<Nodes> {
    Mutex::new(balance(nodes))
}

#[inline]
fn call(nodes: &mut Nodes) -> <Nodes as Service<()>>::Future {
    match nodes.poll_ready(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(Ok(())) => nodes.call(()),
        Poll::Ready(Err(error)) => panic!("tower: {error}"),
        Poll::Pending => panic!("tower: no node is ready"),
    }
}

#[inline]
fn answer(called: <Nodes as Service<()>>::Future) -> usize {
    match pin!(called).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(Ok(index)) => index,
        Poll::Ready(Err(error)) => panic!("tower: {error}"),
        Poll::Pending => panic!("tower: the node does not answer"),
    }
}

/// The balance of a single thread.
pub struct Alone(pub Nodes);

impl Pick for Alone {
    type Node = usize;

    #[inline]
    fn pick(&mut self) -> usize {
        answer(call(&mut self.0))
    }

    fn index(&self, index: &usize) -> usize {
        *index
    }
}

pub struct Handle<'a>(pub &'a Mutex<Nodes>);

impl Pick for Handle<'_> {
    type Node = usize;

    #[inline]
    fn pick(&mut self) -> usize {
        let called = call(&mut self.0.lock().expect("a panic ends the program"));
        answer(called)
    }

    fn index(&self, index: &usize) -> usize {
        *index
    }
}
