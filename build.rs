//! Link flags of the shared object, nothing else.

fn main() {
    // `rustc-link-arg` rather than its cdylib form: the package declares no cdylib, so cargo would
    // warn. On the test programs, which get the flags too, both are without effect.
    println!("cargo:rerun-if-changed=build.rs");
    // The ABI's major number: raised only when an existing program would stop working.
    println!("cargo:rustc-link-arg=-Wl,-soname,libupstream.so.0");
    // Library threads and a thread's destructors may outlive dlclose(); the code must stay mapped.
    println!("cargo:rustc-link-arg=-Wl,-z,nodelete");
}
