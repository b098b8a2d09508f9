//! Runs the built receiver and speaks the Forward protocol to it. It must never leave a process
//! behind.

use rmpv::Value;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// A limit for what has to happen; reaching it is a failure.
pub const PATIENCE: Duration = Duration::from_secs(30);

pub struct Receiver {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
    pub port: u16,
    pub control: Option<u16>,
}

impl Receiver {
    pub fn start(args: &[&str]) -> Receiver {
        let mut child = Command::new(env!("CARGO_BIN_EXE_forward-receiver"))
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (stdin, stdout) = (child.stdin.take(), BufReader::new(child.stdout.take().unwrap()));
        let mut receiver = Receiver { child, stdin, stdout, port: 0, control: None };
        let ready = receiver.line();
        assert!(ready.starts_with("ready "), "{ready}");
        receiver.port = field(&ready, "port").unwrap() as u16;
        receiver.control = field(&ready, "control").map(|port| port as u16);
        receiver
    }

    /// Sends a control line and returns its answer.
    pub fn command(&mut self, line: &str) -> String {
        writeln!(self.stdin.as_mut().unwrap(), "{line}").unwrap();
        self.line()
    }

    pub fn obey(&mut self, line: &str) {
        assert_eq!(self.command(line), "ok", "{line}");
    }

    pub fn count(&mut self, name: &str) -> u64 {
        let counts = self.command("count");
        field(&counts, name).unwrap_or_else(|| panic!("no {name} in {counts}"))
    }

    pub fn wait_for(&mut self, name: &str, expected: u64) {
        let deadline = Instant::now() + PATIENCE;
        while self.count(name) != expected {
            assert!(Instant::now() < deadline, "{name} is {}, not {expected}", self.count(name));
            thread::sleep(Duration::from_millis(5));
        }
    }

    pub fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    pub fn close_stdin(&mut self) {
        self.stdin = None;
    }

    /// The next line of standard output, without its end.
    pub fn line(&mut self) -> String {
        let mut line = String::new();
        self.stdout.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    /// Waits until the process ends by itself.
    pub fn wait(&mut self) -> ExitStatus {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < deadline, "the receiver does not end");
            thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        // Fails when it ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub fn field(line: &str, name: &str) -> Option<u64> {
    let found = line.split(' ').find_map(|word| word.strip_prefix(name)?.strip_prefix('='))?;
    Some(found.parse().unwrap())
}

pub fn encode(value: &Value) -> Vec<u8> {
    let mut bytes = Vec::new();
    rmpv::encode::write_value(&mut bytes, value).unwrap();
    bytes
}

pub fn read_value(stream: &mut impl Read) -> Value {
    rmpv::decode::read_value(stream).unwrap()
}

/// A message in Forward mode with the records `{"n": from}` up to, but without, `{"n": to}`.
pub fn message(from: u64, to: u64, chunk: Option<&str>) -> Vec<u8> {
    let event = |n: u64| {
        let record = Value::Map(vec![("n".into(), n.into())]);
        Value::Array(vec![Value::Ext(0, vec![0, 0, 0, 9, 0, 0, 0, 7]), record])
    };
    let mut options = vec![("size".into(), (to - from).into())];
    options.extend(chunk.map(|chunk| ("chunk".into(), chunk.into())));
    encode(&Value::Array(vec![
        "app".into(),
        Value::Array((from..to).map(event).collect()),
        Value::Map(options),
    ]))
}

pub fn ack(chunk: &str) -> Value {
    Value::Map(vec![("ack".into(), chunk.into())])
}
