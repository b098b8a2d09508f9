# The Forward receiver that the tests and the demo send to. Not installed, not part of the library.

# A release, though nothing here is about speed: it shares all the heavy artefacts with the library's build, where a debug
# one would compile the cryptography once more.
set(FORWARD_RECEIVER "${UPSTREAM_CARGO_TARGET_DIR}/release/forward-receiver")
add_custom_target(forward_receiver ALL
    COMMAND ${upstream_cargo} build --release --locked --package forward-receiver
    BYPRODUCTS "${FORWARD_RECEIVER}"
    WORKING_DIRECTORY "${PROJECT_SOURCE_DIR}"
    COMMENT "Asking cargo for forward-receiver"
    USES_TERMINAL VERBATIM)
# Two cargos would only wait for each other's lock.
add_dependencies(forward_receiver upstream_library)
