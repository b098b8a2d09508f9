# UPSTREAM_SANITIZE: the library and the C tests with clang's sanitizers in them, for tests alone.
# docs/testing.md says what that covers. Never for a library that is installed: it works only in
# programs that are linked with the same sanitizer.

set(UPSTREAM_SANITIZE "" CACHE STRING
    "Sanitizer for library and C tests: address, thread, or empty for none")
set_property(CACHE UPSTREAM_SANITIZE PROPERTY STRINGS "" address thread)
if(NOT UPSTREAM_SANITIZE)
    return()
endif()
if(NOT UPSTREAM_SANITIZE MATCHES "^(address|thread)$")
    message(FATAL_ERROR "UPSTREAM_SANITIZE is \"${UPSTREAM_SANITIZE}\"; give address or thread")
endif()
if(NOT CMAKE_C_COMPILER_ID STREQUAL "Clang")
    message(FATAL_ERROR "UPSTREAM_SANITIZE needs clang: give -DCMAKE_C_COMPILER=clang, "
        "or use a preset (cmake --preset asan, or tsan)")
endif()

# The C side. Undefined behaviour goes with addresses: beside threads it would only take time twice.
set(upstream_sanitizers "${UPSTREAM_SANITIZE}")
if(UPSTREAM_SANITIZE STREQUAL "address")
    set(upstream_sanitizers "address,undefined")
endif()
add_compile_options(
    -fsanitize=${upstream_sanitizers} -fno-sanitize-recover=all -fno-omit-frame-pointer)
add_link_options(-fsanitize=${upstream_sanitizers})

# The Rust side. The compiler's -Zsanitizer is not stable, hence RUSTC_BOOTSTRAP; only the crates
# that go into the library get it, which needs a --target. The standard library is as rustup brings
# it, without: for the thread sanitizer the compiler wants to be told that this is meant.
execute_process(COMMAND "${UPSTREAM_CARGO}" -vV
    OUTPUT_VARIABLE cargo_version COMMAND_ERROR_IS_FATAL ANY)
string(REGEX REPLACE ".*host: ([^\n]+).*" "\\1" upstream_host "${cargo_version}")
set(rust_flags "-Zsanitizer=${UPSTREAM_SANITIZE} -Cforce-frame-pointers=yes")
if(UPSTREAM_SANITIZE STREQUAL "thread")
    string(APPEND rust_flags " -Cunsafe-allow-abi-mismatch=sanitizer --cfg upstream_tsan")
endif()
# Reports with lines in them, and a quick build; assertions that a release leaves out.
set(upstream_library_environment
    RUSTC_BOOTSTRAP=1 "RUSTFLAGS=${rust_flags}"
    CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16
    CARGO_PROFILE_RELEASE_OPT_LEVEL=1
    CARGO_PROFILE_RELEASE_DEBUG=line-tables-only CARGO_PROFILE_RELEASE_STRIP=none
    CARGO_PROFILE_RELEASE_DEBUG_ASSERTIONS=true)
