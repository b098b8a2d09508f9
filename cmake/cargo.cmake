# The library as cargo builds it, and the imported targets over it. Every build asks cargo, because
# only cargo knows which sources count. If nothing changed, it answers at once and touches no file.

# rustup's cargo before the system's, which is often too old.
set(cargo_homes "$ENV{HOME}/.cargo")
if(DEFINED ENV{CARGO_HOME})
    list(PREPEND cargo_homes "$ENV{CARGO_HOME}")
endif()
list(TRANSFORM cargo_homes APPEND /bin)
find_program(UPSTREAM_CARGO cargo HINTS ${cargo_homes} DOC "The cargo that builds the library")

# Cargo.toml alone says which Rust is needed. An older cargo may fail to read that file, and then
# its message does not name the cause.
file(STRINGS "${PROJECT_SOURCE_DIR}/Cargo.toml" rust_needed REGEX "^rust-version = " LIMIT_COUNT 1)
string(REGEX REPLACE "^rust-version = \"([0-9.]+)\".*" "\\1" rust_needed "${rust_needed}")
string(CONCAT rust_fix "Install Rust ${rust_needed} or newer from https://rustup.rs, "
    "or name another cargo with -DUPSTREAM_CARGO=/path/to/cargo")
if(NOT UPSTREAM_CARGO)
    message(FATAL_ERROR "cargo was not found. ${rust_fix}")
endif()
execute_process(COMMAND "${UPSTREAM_CARGO}" --version WORKING_DIRECTORY "${PROJECT_SOURCE_DIR}"
    OUTPUT_VARIABLE rust_found ERROR_VARIABLE rust_found RESULT_VARIABLE failed
    OUTPUT_STRIP_TRAILING_WHITESPACE)
set(wrong "")
if(failed OR NOT rust_found MATCHES "^cargo ([0-9]+\\.[0-9]+)")
    set(wrong "${UPSTREAM_CARGO} --version fails: ${rust_found}\n")
elseif(CMAKE_MATCH_1 VERSION_LESS rust_needed)
    set(wrong "${UPSTREAM_CARGO} is ${rust_found}, which is too old. ")
endif()
if(wrong)
    unset(UPSTREAM_CARGO CACHE) # the next run looks again
    message(FATAL_ERROR "${wrong}${rust_fix}")
endif()

set(UPSTREAM_CARGO_TARGET_DIR "${PROJECT_BINARY_DIR}/cargo" CACHE PATH
    "Where cargo keeps what it builds")

# A make above us has its own job server, whose descriptors it does not hand to cargo.
set(upstream_cargo
    ${CMAKE_COMMAND} -E env --unset=MAKEFLAGS --unset=MFLAGS --unset=MAKELEVEL
    "CARGO_TARGET_DIR=${UPSTREAM_CARGO_TARGET_DIR}" "${UPSTREAM_CARGO}")

set(upstream_library_environment "")
include("${CMAKE_CURRENT_LIST_DIR}/sanitize.cmake")

set(upstream_lib_dir "${PROJECT_BINARY_DIR}/lib")
set(upstream_so "libupstream.so.${PROJECT_VERSION}")
set(upstream_so_link "libupstream.so.${UPSTREAM_SOVERSION}")
set(upstream_release_dir "${UPSTREAM_CARGO_TARGET_DIR}/release")
set(upstream_kinds cdylib,staticlib)
set(upstream_library_dir "${upstream_release_dir}")
set(copy ${CMAKE_COMMAND} -E copy_if_different)
set(link ${CMAKE_COMMAND} -E create_symlink)
set(copy_static COMMAND ${copy}
    "${upstream_library_dir}/libupstream.a" "${upstream_lib_dir}/libupstream.a")
set(target_flag "")
if(UPSTREAM_SANITIZE)
    set(upstream_kinds cdylib)
    set(upstream_library_dir "${UPSTREAM_CARGO_TARGET_DIR}/${upstream_host}/release")
    set(copy_static "")
    set(target_flag --target "${upstream_host}")
endif()

# Both kinds in one run of rustc: the whole-program optimisation is done once, and neither build can
# push the other's files aside. It stays on as long as no rlib is asked for beside them.
add_custom_target(upstream_library ALL
    COMMAND ${CMAKE_COMMAND} -E env ${upstream_library_environment}
        ${upstream_cargo} rustc --lib --release --locked ${target_flag}
        --crate-type ${upstream_kinds}
    COMMAND ${CMAKE_COMMAND} -E make_directory "${upstream_lib_dir}"
    COMMAND ${copy} "${upstream_library_dir}/libupstream.so" "${upstream_lib_dir}/${upstream_so}"
    ${copy_static}
    COMMAND ${link} "${upstream_so}" "${upstream_lib_dir}/${upstream_so_link}"
    COMMAND ${link} "${upstream_so_link}" "${upstream_lib_dir}/libupstream.so"
    BYPRODUCTS
        "${upstream_lib_dir}/${upstream_so}" "${upstream_lib_dir}/${upstream_so_link}"
        "${upstream_lib_dir}/libupstream.so" "${upstream_lib_dir}/libupstream.a"
    WORKING_DIRECTORY "${PROJECT_SOURCE_DIR}"
    COMMENT "Asking cargo for libupstream"
    USES_TERMINAL VERBATIM)

# What `cargo rustc -- --print native-static-libs` names, without libc, which every link has.
set(UPSTREAM_STATIC_SYSTEM_LIBS -lgcc_s -lutil -lrt -lpthread -lm -ldl)

add_library(upstream::upstream SHARED IMPORTED GLOBAL)
set_target_properties(upstream::upstream PROPERTIES
    IMPORTED_LOCATION "${upstream_lib_dir}/${upstream_so}"
    IMPORTED_SONAME "${upstream_so_link}"
    INTERFACE_INCLUDE_DIRECTORIES "${PROJECT_SOURCE_DIR}/include")
add_dependencies(upstream::upstream upstream_library)

add_library(upstream::static STATIC IMPORTED GLOBAL)
set_target_properties(upstream::static PROPERTIES
    IMPORTED_LOCATION "${upstream_lib_dir}/libupstream.a"
    INTERFACE_INCLUDE_DIRECTORIES "${PROJECT_SOURCE_DIR}/include"
    INTERFACE_LINK_LIBRARIES "${UPSTREAM_STATIC_SYSTEM_LIBS}")
add_dependencies(upstream::static upstream_library)
