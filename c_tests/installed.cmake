# Tests of what is installed: its symbols, the guide's programs, and projects that use it.

add_test(NAME exported_symbols
    COMMAND "${CMAKE_CURRENT_SOURCE_DIR}/support/exports.sh"
        "${upstream_lib_dir}/${upstream_so}" "${PROJECT_SOURCE_DIR}/include/upstream/upstream.h"
        "${upstream_so_link}" "${CMAKE_C_COMPILER}")

# What docs/writing-a-plugin.md shows, built and run.
add_test(NAME guide_programs
    COMMAND "${CMAKE_CURRENT_SOURCE_DIR}/guide/check.py"
        "${PROJECT_SOURCE_DIR}/docs/writing-a-plugin.md" --
        ${CMAKE_C_COMPILER} -std=c99 ${warnings} "-I${PROJECT_SOURCE_DIR}/include" {}
        "-L${upstream_lib_dir}" "-Wl,-rpath,${upstream_lib_dir}" -lupstream -pthread)
set_tests_properties(guide_programs PROPERTIES TIMEOUT 180)

# The plugins live among the symbols of their agents.
set(plugin_symbols "${CMAKE_CURRENT_SOURCE_DIR}/support/plugin_symbols.sh")
if(TARGET fluent-bit-plugin)
    add_test(NAME plugin_symbols_fluent_bit
        COMMAND "${plugin_symbols}" $<TARGET_FILE:fluent-bit-plugin>
        "FLBPluginRegister FLBPluginInit FLBPluginOutputPreRun FLBPluginFlushCtx FLBPluginExitCtx"
        "libupstream.so libz.so libnettle.so")
endif()
if(TARGET collectd-plugin)
    add_test(NAME plugin_symbols_collectd
        COMMAND "${plugin_symbols}" $<TARGET_FILE:collectd-plugin>
        "module_register" "libupstream.so libz.so libnettle.so"
        "^(plugin|cf_util|meta_data|ds_type)_[a-z_]+$")
endif()

# A cdylib named in Cargo.toml beside the rlib makes a plain `cargo build` leave out link-time
# optimisation in silence. The build above asks for its own kinds and would not show it.
add_test(NAME crate_type
    COMMAND grep -qxF "crate-type = [\"rlib\"]" "${PROJECT_SOURCE_DIR}/Cargo.toml")

# A machine without the packages of the tests and of most examples configures all the same.
add_test(NAME configure_bare
    COMMAND "${CMAKE_CURRENT_SOURCE_DIR}/consumer/bare.sh" "${PROJECT_SOURCE_DIR}"
        "${CMAKE_CURRENT_BINARY_DIR}/bare" "${CMAKE_COMMAND}" "${CMAKE_C_COMPILER}")
set_tests_properties(configure_bare PROPERTIES TIMEOUT 120)

# The installed library, used by others.
set(stage "${CMAKE_CURRENT_BINARY_DIR}/stage")
set(tools "CC=${CMAKE_C_COMPILER}" "CXX=${CMAKE_CXX_COMPILER}" "CMAKE=${CMAKE_COMMAND}")
set(places stayed somewhere/moved unpacked)
if(DPKG_DEB)
    list(APPEND places debian/usr)
endif()
add_test(NAME consumer_install
    COMMAND "${CMAKE_CURRENT_SOURCE_DIR}/consumer/install.sh" "${PROJECT_BINARY_DIR}" "${stage}"
        "${CMAKE_COMMAND}" "${CMAKE_CPACK_COMMAND}")
set_tests_properties(consumer_install PROPERTIES FIXTURES_SETUP installed TIMEOUT 300)
foreach(how IN ITEMS cmake pkg-config)
    foreach(place IN LISTS places)
        string(REGEX REPLACE "[-/]" "_" name "consumer_${how}_${place}")
        add_test(NAME ${name}
            COMMAND "${CMAKE_CURRENT_SOURCE_DIR}/consumer/check.sh" ${how} "${stage}/${place}"
                "${CMAKE_CURRENT_BINARY_DIR}/${name}" "${PROJECT_VERSION}")
        set_tests_properties(${name} PROPERTIES
            FIXTURES_REQUIRED installed TIMEOUT 120 ENVIRONMENT "${tools}")
    endforeach()
endforeach()
