//! The control commands: one line in, one line out, over standard input and over TCP. Commands from
//! several sources take turns. When the answer is written, the command has done its work.

use crate::server::Server;
use parking_lot::Mutex;
use std::io::{self, BufRead, BufReader, Write};
use std::net::TcpListener;
use std::sync::Arc;
use std::{process, thread};

pub struct Control {
    server: Arc<Server>,
    turn: Mutex<()>,
}

impl Control {
    pub fn new(server: Arc<Server>) -> Arc<Control> {
        Arc::new(Control { server, turn: Mutex::new(()) })
    }

    /// Obeys the lines of `input` until it ends.
    pub fn follow(&self, input: impl BufRead, mut output: impl Write) {
        for line in input.lines() {
            let Ok(line) = line else { return };
            let words: Vec<&str> = line.split_whitespace().collect();
            if words.is_empty() {
                continue;
            }
            let _turn = self.turn.lock();
            let last = match words[..] {
                ["die"] => {
                    self.server.prepare_to_die();
                    true
                }
                ["quit"] => {
                    // Threads that do not end by themselves end with the process.
                    let _ = self.server.refuse();
                    true
                }
                _ => false,
            };
            let answer = if last { self.counts() } else { self.obey(&words) };
            let written = writeln!(output, "{answer}").and_then(|()| output.flush());
            if last {
                process::exit(0);
            }
            if written.is_err() {
                return;
            }
        }
    }

    /// Ends the process as `quit` does, with the counts on standard output.
    pub fn quit(&self) -> ! {
        let _turn = self.turn.lock();
        let _ = self.server.refuse();
        say(&self.counts());
        process::exit(0)
    }

    /// Accepts control connections as long as the process runs, each on its own thread.
    pub fn serve(self: &Arc<Self>, listener: TcpListener) -> io::Result<()> {
        let control = Arc::clone(self);
        thread::Builder::new().name("control".into()).spawn(move || {
            for stream in listener.incoming().flatten() {
                let control = Arc::clone(&control);
                thread::spawn(move || {
                    let _ = stream.set_nodelay(true);
                    control.follow(BufReader::new(&stream), &stream);
                });
            }
        })?;
        Ok(())
    }

    fn counts(&self) -> String {
        format!("{} open={}", self.server.counts, self.server.open_connections())
    }

    fn obey(&self, words: &[&str]) -> String {
        let server = &self.server;
        let done = match *words {
            ["count"] => return self.counts(),
            ["refuse"] => server.refuse(),
            ["listen"] => server.listen().map_err(|error| format!("{}: {error}", server.address)),
            ["stall"] => server.stall(),
            ["resume"] => {
                server.resume();
                Ok(())
            }
            ["reset"] => server.reset(),
            ["reset-after", "off"] => {
                server.faults.set_reset_after(None);
                Ok(())
            }
            ["reset-after", bytes] => match bytes.parse() {
                Ok(bytes) => {
                    server.faults.set_reset_after(Some(bytes));
                    Ok(())
                }
                Err(_) => {
                    Err(format!("reset-after takes a number of bytes, or off; not \"{bytes}\""))
                }
            },
            [name, state] => match (server.faults.switch(name), state) {
                (Some(switch), "on") => {
                    switch.set(true);
                    Ok(())
                }
                (Some(switch), "off") => {
                    switch.set(false);
                    Ok(())
                }
                (Some(_), _) => Err(format!("{name} takes on or off, not \"{state}\"")),
                (None, _) => Err(format!("no command \"{name} {state}\"; -h lists them")),
            },
            _ => Err(format!("no command \"{}\"; -h lists them", words.join(" "))),
        };
        match done {
            Ok(()) => "ok".into(),
            Err(reason) => format!("error: {reason}"),
        }
    }
}

/// Sends one line to the caller, who may be gone already.
pub fn say(line: &str) {
    let mut out = io::stdout().lock();
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}

/// Listens for control connections, only from this machine.
pub fn listen(port: u16) -> io::Result<TcpListener> {
    TcpListener::bind(("127.0.0.1", port))
}
