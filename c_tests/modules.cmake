# Modules that tests load: plugins for hosts and agents that are the test programs themselves.

# A plugin for test_unload, which gets the library only through it: --as-needed leaves out what a
# program only names on its link line.
add_library(guest_module MODULE module/guest_module.c)
set_target_properties(guest_module PROPERTIES C_STANDARD 11 C_EXTENSIONS OFF PREFIX "")
target_compile_options(guest_module PRIVATE ${warnings})
target_link_libraries(guest_module PRIVATE upstream::upstream)
target_link_options(test_unload PRIVATE LINKER:--as-needed)
target_compile_definitions(test_unload PRIVATE "GUEST_MODULE=\"$<TARGET_FILE:guest_module>\"")
add_dependencies(test_unload guest_module)

# It shows the plugin for Fluent Bit that the agent is a newer one.
if(TARGET test_fluent_bit_versions)
    add_library(newer_agent MODULE module/newer_agent.c)
    set_target_properties(newer_agent PROPERTIES C_STANDARD 11 C_EXTENSIONS OFF PREFIX "")
    target_compile_options(newer_agent PRIVATE ${warnings})
    set_target_properties(test_fluent_bit_versions PROPERTIES ENABLE_EXPORTS ON)
    target_compile_definitions(test_fluent_bit_versions PRIVATE
        "NEWER_AGENT=\"$<TARGET_FILE:newer_agent>\"")
    add_dependencies(test_fluent_bit_versions newer_agent)
endif()

if(TARGET test_fluent_bit_shim)
    # A stand-in for the agent of upstream/fluent_bit.h, and a plugin written for such an agent,
    # compiled unchanged, with the header's flag and without it. All of the agent's headers are the
    # same file here. The test program is the agent, so it exports its functions.
    set(guest_agent "${CMAKE_CURRENT_SOURCE_DIR}/guest_agent")
    set(guest_include "${CMAKE_CURRENT_BINARY_DIR}/guest_agent")
    foreach(name IN ITEMS info config coro log output output_plugin upstream upstream_conn
            upstream_ha upstream_node)
        file(CONFIGURE OUTPUT "${guest_include}/fluent-bit/flb_${name}.h"
            CONTENT "#include <guest_agent.h>\n")
    endforeach()
    foreach(plugin IN ITEMS records records_plain)
        add_library(out_${plugin} MODULE
            "${guest_agent}/out_records.c" "${guest_agent}/out_records_conf.c")
        set_target_properties(out_${plugin} PROPERTIES C_STANDARD 11 C_EXTENSIONS ON PREFIX "flb-")
        target_compile_definitions(out_${plugin} PRIVATE _GNU_SOURCE)
        target_compile_options(out_${plugin} PRIVATE ${warnings})
        target_include_directories(out_${plugin} PRIVATE "${guest_include}" "${guest_agent}")
        add_dependencies(test_fluent_bit_shim out_${plugin})
        add_dependencies(test_fluent_bit_shim_faults out_${plugin})
    endforeach()
    target_compile_options(out_records PRIVATE "SHELL:-include upstream/fluent_bit.h")
    target_link_libraries(out_records PRIVATE upstream::upstream)
    foreach(test IN ITEMS test_fluent_bit_shim test_fluent_bit_shim_faults)
        target_sources(${test} PRIVATE
            "${guest_agent}/guest_base.c" "${guest_agent}/guest_coro.c"
            "${guest_agent}/guest_engine.c" "${guest_agent}/guest_upstream.c"
            "${guest_agent}/shim_bed.c")
        set_target_properties(${test} PROPERTIES ENABLE_EXPORTS ON)
        target_include_directories(${test} PRIVATE "${guest_include}" "${guest_agent}")
        target_compile_definitions(${test} PRIVATE
            "WITH_FLAG=\"$<TARGET_FILE:out_records>\""
            "WITHOUT_FLAG=\"$<TARGET_FILE:out_records_plain>\"")
    endforeach()
endif()
