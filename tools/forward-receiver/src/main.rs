//! A Forward protocol server for demonstrations and tests: it counts every record that it receives,
//! and fails on command. Not for production: it stores only what `--out` asks for.

mod auth;
mod connection;
mod control;
mod faults;
mod fluentd;
mod forward;
mod json;
mod options;
mod scan;
mod server;
mod tls;
mod wire;

use control::Control;
use options::Options;
use parking_lot::Mutex;
use server::{Server, Settings};
use std::fs::File;
use std::io;
use std::process::ExitCode;
use std::thread;

fn main() -> ExitCode {
    let options = match options::parse(std::env::args_os().skip(1)) {
        Ok(Some(options)) => options,
        Ok(None) => {
            print!("{}", options::HELP);
            return ExitCode::SUCCESS;
        }
        Err(error) => {
            eprintln!("forward-receiver: {error} (-h lists the options)");
            return ExitCode::from(2);
        }
    };
    match run(options) {
        Ok(never) => match never {},
        Err(error) => {
            eprintln!("forward-receiver: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: Options) -> Result<std::convert::Infallible, String> {
    let tls = match &options.identity {
        Some(identity) => Some(tls::configure(identity, options.client_ca.as_deref())?),
        None => None,
    };
    let out = match &options.out {
        Some(path) => {
            let file = File::options().append(true).create(true).open(path);
            Some(Mutex::new(file.map_err(|error| format!("{}: {error}", path.display()))?))
        }
        None => None,
    };
    let settings = Settings {
        name: options.name,
        tls,
        credentials: options.credentials,
        out,
        as_fluentd: options.as_fluentd,
    };
    let address = options.address;
    let server = Server::bind(address, settings).map_err(|error| format!("{address}: {error}"))?;
    server.listen().map_err(|error| format!("{address}: {error}"))?;
    let control = Control::new(server.clone());
    let mut ready = format!("ready port={}", server.address.port());
    if let Some(port) = options.control {
        let failed = |error: io::Error| format!("control port {port}: {error}");
        let listener = control::listen(port).map_err(failed)?;
        ready += &format!(" control={}", listener.local_addr().map_err(failed)?.port());
        control.serve(listener).map_err(failed)?;
    }
    control::say(&ready);
    if options.stdin {
        control.follow(io::stdin().lock(), io::stdout());
        if options.control.is_none() {
            control.quit();
        }
    }
    loop {
        thread::park();
    }
}
