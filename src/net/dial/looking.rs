//! The look at the files of its TLS that a dial begins with.

use std::sync::Arc;
use std::time::Instant;

use super::running::Work;
use super::stage::Dial;
use crate::net::tls::LOOK_WAIT;

impl Work {
    /// Before a dial with TLS begins: has its files looked at, and waits for that, but not long.
    pub(super) fn look_first(&mut self, id: u64, dial: Dial) {
        let tls = dial.target.tls.as_ref().filter(|tls| tls.live().watches_files());
        let Some(live) = tls.map(|tls| Arc::clone(tls.live())) else {
            return self.begin(id, dial);
        };
        if self.errands.is_stuck() {
            return self.begin(id, dial); // with what was read last
        }
        let now = Instant::now();
        let half = dial.deadline.saturating_duration_since(now) / 2;
        self.looking.insert(id, now + LOOK_WAIT.min(half));
        self.dials.insert(id, dial);
        if !live.await_look(id) {
            return;
        }
        let (mailbox, look) = (Arc::clone(&self.mailbox), Arc::clone(&live));
        let errand = move || {
            let looked = look.look();
            mailbox.post(|letters| letters.looked.push((look, looked)));
        };
        if self.errands.add(errand).is_err() {
            // No thread can be started: they go on with what was read last.
            live.forget_waiting().into_iter().for_each(|id| self.has_looked(id));
        }
    }

    /// The files of a dial are as good as they will be: it begins.
    pub(super) fn has_looked(&mut self, id: u64) {
        if self.looking.remove(&id).is_some()
            && let Some(dial) = self.dials.remove(&id)
        {
            self.begin(id, dial);
        }
    }
}
