# The Forward receiver that the tests and the demo send to. Not installed, not part of the library.

# A release, though nothing here is about speed: it shares all the heavy artefacts with the
# library's build, where a debug one would compile the cryptography once more.
set(FORWARD_RECEIVER "${PROJECT_BINARY_DIR}/tools/forward-receiver")
add_custom_target(forward_receiver ALL
    COMMAND ${upstream_cargo} build --release --locked --package forward-receiver
    COMMAND ${CMAKE_COMMAND} -E make_directory "${PROJECT_BINARY_DIR}/tools"
    COMMAND ${CMAKE_COMMAND} -E copy_if_different
        "${upstream_release_dir}/forward-receiver" "${FORWARD_RECEIVER}"
    BYPRODUCTS "${FORWARD_RECEIVER}"
    WORKING_DIRECTORY "${PROJECT_SOURCE_DIR}"
    COMMENT "Asking cargo for forward-receiver"
    USES_TERMINAL VERBATIM)
# Two cargos would only wait for each other's lock.
add_dependencies(forward_receiver upstream_library)
