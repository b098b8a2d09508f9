//! The dialer thread with what it works on. If another part of the process closes its descriptors,
//! as a host does that becomes a daemon late, the desk is lost: its dials fail, its thread ends,
//! and the next dial makes a new desk.
//!
//! Invariant: a lost desk closes nothing, because its numbers may belong to other files by now, and
//! nobody waits for its thread.

use std::io;
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;

use super::mailbox::{Letters, Mailbox};
use super::running::{self, Lost, Work};
use crate::base::error::{Blame, Error, Result, Status};
use crate::base::process::Birthplace;
use crate::base::sync::Mutex;
use crate::net::cancel::Cancel;
use crate::net::thread;

/// Stack of the dialer thread. A rustls handshake was measured at 37 KB; certificate checks need
/// more.
const STACK: usize = 512 * 1024;

/// A dialer thread, and what reaches it.
pub(super) struct Desk {
    pub(super) mailbox: Arc<Mailbox>,
    pub(super) work: Arc<Mutex<Work>>,
    pub(super) thread: Mutex<Thread>,
    /// The desk that replaces it when it is lost.
    pub(super) next: OnceLock<Box<Desk>>,
}

pub(super) enum Thread {
    NotStarted,
    Running(JoinHandle<()>),
    Stopped,
}

impl Desk {
    pub(super) fn new(cancel: &Arc<Cancel>) -> io::Result<Desk> {
        let mailbox = Arc::new(Mailbox::new()?);
        let work = Work::new(Arc::clone(&mailbox), Arc::clone(cancel));
        let (work, thread) = (Arc::new(Mutex::new(work)), Mutex::new(Thread::NotStarted));
        Ok(Desk { mailbox, work, thread, next: OnceLock::new() })
    }

    pub(super) fn start_thread(&self) -> Result<()> {
        let mut thread = self.thread.lock();
        match &*thread {
            Thread::Stopped => {
                return Err(Error::new(Status::Cancelled, "the upstream was destroyed"));
            }
            Thread::Running(_) => return Ok(()),
            Thread::NotStarted => {}
        }
        let (mailbox, work) = (Arc::clone(&self.mailbox), Arc::clone(&self.work));
        let started = thread::spawn("upstream-dial", STACK, move || running::run(&mailbox, &work));
        let what = "the library's dialer thread cannot be started";
        *thread = Thread::Running(started.map_err(|error| Error {
            blame: Blame::Local,
            ..Error::io(Status::NoMemory, what, &error)
        })?);
        Ok(())
    }

    /// Ends every dial and waits for the thread.
    pub(super) fn stop(&self) {
        self.mailbox.post(|letters| letters.stop = true);
        // Joined without the lock, because a last orphan may call this desk.
        let thread = std::mem::replace(&mut *self.thread.lock(), Thread::Stopped);
        if let Thread::Running(thread) = thread {
            // It catches its own panics.
            let _ = thread.join();
        }
    }

    /// Gives up a desk whose descriptors were closed. `heir` gets its open tasks. Call
    /// [`Lost::tell`] on the result outside every lock: it tells those who wait. If the thread is
    /// working, it finds the loss itself and tells them. If it sleeps, nothing can wake it; it ends
    /// after its longest sleep, and nobody waits for it.
    pub(super) fn retire(&self, heir: Option<&Desk>) -> Lost {
        self.mailbox.disown();
        *self.thread.lock() = Thread::Stopped;
        if let Some(heir) = heir {
            let mut letters = self.mailbox.letters.lock();
            letters.heir = Some(Arc::clone(&heir.mailbox));
            letters.bequeath();
        }
        self.work.try_lock().map(|mut work| work.lose(libc::EBADF)).unwrap_or_default()
    }

    /// In a forked child: forgets the thread, which does not exist there, and closes what it had
    /// open.
    pub(super) fn give_up(&self, birthplace: Birthplace) {
        if let Some(mut thread) = self.thread.reach(birthplace) {
            std::mem::forget(std::mem::replace(&mut *thread, Thread::Stopped));
        }
        let letters: Option<Letters> =
            self.mailbox.letters.reach(birthplace).map(|mut letters| std::mem::take(&mut *letters));
        let work = self.work.reach(birthplace).map(|mut work| work.give_up());
        drop((letters, work)); // outside the locks
        self.mailbox.wake.give_up();
        self.mailbox.epoll.give_up();
    }
}
