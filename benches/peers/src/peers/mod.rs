//! The peers, through their real code, each used as a plugin would use it. No file here may use
//! another.

pub mod pingora;
pub mod tower;
pub mod upstream;
