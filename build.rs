//! Link flags of the shared object, nothing else.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    // The ABI's major number: raised only when an existing program would stop working.
    println!("cargo:rustc-cdylib-link-arg=-Wl,-soname,libupstream.so.0");
    // Library threads and a thread's destructors may outlive dlclose(); the code must stay mapped.
    println!("cargo:rustc-cdylib-link-arg=-Wl,-z,nodelete");
}
