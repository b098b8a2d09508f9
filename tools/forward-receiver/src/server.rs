//! The listener, the table of open connections, and what the control commands do to both. Each
//! connection has its own thread. No thread may do anything while the server is stalled.

use crate::auth::Credentials;
use crate::connection;
use crate::faults::{Counts, Faults};
use parking_lot::{Condvar, Mutex, MutexGuard};
use rustls::ServerConfig;
use socket2::{Domain, SockRef, Socket, Type};
use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering::SeqCst};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// How long a command waits for threads that are working. Far more than they need.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long one write may block before the thread checks whether its connection must end.
const WRITE_SLICE: Duration = Duration::from_millis(100);

pub struct Settings {
    pub name: String,
    pub tls: Option<Arc<ServerConfig>>,
    pub credentials: Option<Credentials>,
    pub out: Option<Mutex<File>>,
    /// Accept what fluentd accepts, and drop what it drops.
    pub as_fluentd: bool,
}

pub struct Server {
    pub settings: Settings,
    pub faults: Faults,
    pub counts: Counts,
    pub address: SocketAddr,
    /// Bound, but never listening: keeps the port for this process while the server refuses.
    _reservation: Socket,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    stalled: bool,
    /// Connection threads that work on what they read.
    busy: usize,
    next_id: u64,
    open: HashMap<u64, Arc<Peer>>,
    listener: Option<Listener>,
}

struct Listener {
    socket: Arc<TcpListener>,
    closing: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

/// How a connection must end. `Open` means not yet.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Fate {
    Open,
    Close,
    Reset,
}

/// One connection; its thread and the commands share it.
pub struct Peer {
    pub address: SocketAddr,
    pub stream: TcpStream,
    /// How many bytes to read before it is reset, as set when it was accepted.
    pub budget: Option<u64>,
    fate: AtomicU8,
}

impl Peer {
    pub fn fate(&self) -> Fate {
        match self.fate.load(SeqCst) {
            fate if fate == Fate::Open as u8 => Fate::Open,
            fate if fate == Fate::Close as u8 => Fate::Close,
            _ => Fate::Reset,
        }
    }

    /// Tells the connection's thread to end. Shutting down the reading side sends nothing to the
    /// client, but wakes a thread that waits for it.
    fn end(&self, fate: Fate) {
        self.fate.store(fate as u8, SeqCst);
        if fate == Fate::Reset {
            reset_on_close(&self.stream);
        }
        // Fails if the client is gone already, and then the thread is awake.
        let _ = self.stream.shutdown(Shutdown::Read);
    }
}

/// Makes closing `stream` send an RST instead of a FIN.
pub fn reset_on_close(stream: &TcpStream) {
    // Fails only if the socket is dead already.
    let _ = SockRef::from(stream).set_linger(Some(Duration::ZERO));
}

/// Permission to work on what was read; `stall` waits until it is dropped.
pub struct Pass<'a>(&'a Server);

impl Drop for Pass<'_> {
    fn drop(&mut self) {
        self.0.state.lock().busy -= 1;
        self.0.changed.notify_all();
    }
}

/// Takes a connection out of the table when its thread ends, even by a panic.
struct Seat {
    server: Arc<Server>,
    id: u64,
}

impl Drop for Seat {
    fn drop(&mut self) {
        // The last owner: this closes the socket, before anyone is told that the connection is
        // gone.
        drop(self.server.state.lock().open.remove(&self.id));
        self.server.changed.notify_all();
    }
}

impl Server {
    /// Binds `address`; call `listen` next.
    pub fn bind(address: SocketAddr, settings: Settings) -> io::Result<Arc<Server>> {
        let reservation = reusable(address)?;
        let address = reservation.local_addr()?.as_socket().expect("bound to an IP address");
        Ok(Arc::new(Server {
            settings,
            faults: Faults::default(),
            counts: Counts::default(),
            address,
            _reservation: reservation,
            state: Mutex::default(),
            changed: Condvar::new(),
        }))
    }

    pub fn listen(self: &Arc<Self>) -> io::Result<()> {
        let mut state = self.state.lock();
        if state.listener.is_some() {
            return Ok(());
        }
        let socket = reusable(self.address)?;
        socket.listen(1024)?;
        let socket = Arc::new(TcpListener::from(socket));
        let closing = Arc::new(AtomicBool::new(false));
        let thread = thread::Builder::new().name("accept".into()).spawn({
            let (server, socket, closing) =
                (Arc::clone(self), Arc::clone(&socket), Arc::clone(&closing));
            move || server.accept(&socket, &closing)
        })?;
        state.listener = Some(Listener { socket, closing, thread });
        Ok(())
    }

    /// Closes the listener and all connections. New ones are refused until `listen`.
    pub fn refuse(&self) -> Result<(), String> {
        let listener = self.state.lock().listener.take();
        if let Some(listener) = listener {
            listener.closing.store(true, SeqCst);
            // Wakes the thread out of accept(2), on Linux.
            let _ = SockRef::from(&*listener.socket).shutdown(Shutdown::Both);
            self.changed.notify_all();
            if listener.thread.join().is_err() {
                return Err("the accepting thread panicked".into());
            }
        }
        self.end_all(Fate::Close)
    }

    pub fn reset(&self) -> Result<(), String> {
        self.end_all(Fate::Reset)
    }

    /// Stops all reading, accepting and answering. After it returns, nothing more is counted or
    /// sent.
    pub fn stall(&self) -> Result<(), String> {
        let mut state = self.state.lock();
        state.stalled = true;
        self.wait(&mut state, |state| state.busy == 0).map_err(|()| {
            "stalled, but a connection is still writing to a client that does not read".into()
        })
    }

    pub fn resume(&self) {
        self.state.lock().stalled = false;
        self.changed.notify_all();
    }

    /// Prepares the end of the process, so that all connections then get an RST. After this the
    /// counts are final.
    pub fn prepare_to_die(&self) {
        // A thread that still writes does not change what the clients see next.
        let _ = self.stall();
        self.state.lock().open.values().for_each(|peer| reset_on_close(&peer.stream));
    }

    pub fn open_connections(&self) -> usize {
        self.state.lock().open.len()
    }

    /// Waits while the server is stalled. `None` if the connection is to end.
    pub fn enter(&self, peer: &Peer) -> Option<Pass<'_>> {
        let mut state = self.state.lock();
        while state.stalled && peer.fate() == Fate::Open {
            self.changed.wait(&mut state);
        }
        if peer.fate() != Fate::Open {
            return None;
        }
        state.busy += 1;
        Some(Pass(self))
    }

    fn end_all(&self, fate: Fate) -> Result<(), String> {
        let mut state = self.state.lock();
        let ids: Vec<u64> = state.open.keys().copied().collect();
        state.open.values().for_each(|peer| peer.end(fate));
        self.changed.notify_all();
        self.wait(&mut state, |state| !ids.iter().any(|id| state.open.contains_key(id)))
            .map_err(|()| "some connections did not end".into())
    }

    fn wait(
        &self,
        state: &mut MutexGuard<'_, State>,
        done: impl Fn(&State) -> bool,
    ) -> Result<(), ()> {
        let deadline = Instant::now() + PATIENCE;
        while !done(state) {
            if self.changed.wait_until(state, deadline).timed_out() && !done(state) {
                return Err(());
            }
        }
        Ok(())
    }

    fn accept(self: &Arc<Self>, listener: &TcpListener, closing: &AtomicBool) {
        loop {
            match listener.accept() {
                Ok((stream, address)) => {
                    if let Err(error) = self.admit(stream, address, closing) {
                        eprintln!("{}: {address}: {error}", self.settings.name);
                    }
                }
                Err(_) if closing.load(SeqCst) => return,
                Err(error) => {
                    eprintln!("{}: accept: {error}", self.settings.name);
                    // Probably out of descriptors: it does not help to try again at once.
                    thread::sleep(Duration::from_millis(50));
                }
            }
        }
    }

    fn admit(
        self: &Arc<Self>,
        stream: TcpStream,
        address: SocketAddr,
        closing: &AtomicBool,
    ) -> io::Result<()> {
        // The client must see the RST even if the process dies now.
        reset_on_close(&stream);
        stream.set_nodelay(true)?;
        stream.set_write_timeout(Some(WRITE_SLICE))?;
        let mut state = self.state.lock();
        while state.stalled && !closing.load(SeqCst) {
            self.changed.wait(&mut state);
        }
        SockRef::from(&stream).set_linger(None)?;
        if closing.load(SeqCst) {
            return Ok(());
        }
        self.counts.connections.add(1);
        let id = state.next_id;
        state.next_id += 1;
        let budget = self.faults.reset_after();
        let peer =
            Arc::new(Peer { address, stream, budget, fate: AtomicU8::new(Fate::Open as u8) });
        state.open.insert(id, Arc::clone(&peer));
        drop(state);
        // Dropped with the closure if the thread cannot be started. In the thread, `peer` is
        // dropped first.
        let seat = Seat { server: Arc::clone(self), id };
        thread::Builder::new().name(format!("peer {id}")).spawn(move || {
            let seat = seat;
            let peer = peer;
            connection::serve(&seat.server, &peer);
        })?;
        Ok(())
    }
}

fn reusable(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    Ok(socket)
}
