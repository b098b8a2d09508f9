//! The peers through their real code, each as a plugin would use it. No file here may know another.

pub mod pingora;
pub mod tower;
pub mod upstream;
