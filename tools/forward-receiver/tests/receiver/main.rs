//! The built receiver, seen from outside: started as a process, spoken to over loopback.

mod plain;
mod secure;
mod support;
