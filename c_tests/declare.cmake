# upstream_c_test(): how a test program of this folder is declared. The declarations are in
# CMakeLists.txt.

# What a test can need. For each word: the target without which the test cannot be built (empty:
# none), and the environment variables by which the test finds what it needs.
set(need_forward_target forward)
set(need_upstream-forward_target upstream-forward)
set(need_upstream-forward_variables UPSTREAM_FORWARD=$<TARGET_FILE:upstream-forward>)
set(need_epoll_target upstream-epoll)
set(need_epoll_variables UPSTREAM_EPOLL=$<TARGET_FILE:upstream-epoll>)
set(need_fluent-bit_target fluent-bit-plugin)
set(need_fluent-bit_variables FLUENT_BIT_PLUGIN=$<TARGET_FILE:fluent-bit-plugin>)
# The test itself finds out whether collectd and its plugin are there, and is skipped if not.
set(need_collectd_target "")
set(need_collectd_variables "")
if(COLLECTD)
    list(APPEND need_collectd_variables "COLLECTD=${COLLECTD}")
endif()
if(TARGET collectd-plugin)
    list(APPEND need_collectd_variables COLLECTD_PLUGIN=$<TARGET_FILE:collectd-plugin>)
endif()
set(need_receiver_target "")
set(need_receiver_variables "FORWARD_RECEIVER=${FORWARD_RECEIVER}")
set(need_peers_target "")
set(need_peers_variables "FORWARD_PEERS=${CMAKE_CURRENT_BINARY_DIR}/peers")
set(need_callgrind_target "")
set(need_callgrind_variables "VALGRIND=${VALGRIND}")
set(known_needs forward upstream-forward epoll fluent-bit collectd receiver peers callgrind)

set(sanitizer_variables "")
if(UPSTREAM_SANITIZE)
    # Suppressions go by the names of functions.
    find_program(LLVM_SYMBOLIZER NAMES llvm-symbolizer-19 llvm-symbolizer REQUIRED)
    set(symbolizer "external_symbolizer_path=${LLVM_SYMBOLIZER}")
    string(JOIN ":" asan_options "${symbolizer}" detect_stack_use_after_return=1
        strict_string_checks=1 check_initialization_order=1)
    string(JOIN ":" tsan_options "${symbolizer}"
        "suppressions=${CMAKE_CURRENT_SOURCE_DIR}/support/tsan.supp"
        second_deadlock_stack=1 die_after_fork=0)
    set(sanitizer_variables "UPSTREAM_SANITIZE=${UPSTREAM_SANITIZE}" "ASAN_OPTIONS=${asan_options}"
        "UBSAN_OPTIONS=print_stacktrace=1" "TSAN_OPTIONS=${tsan_options}")
endif()

# upstream_c_test(NAME
#     [NEEDS word...]        what the test needs, other than the library: words of `known_needs`
#     [SOURCES file...]      what this program is built from, other than NAME.c and support/
#     [TIMEOUT seconds]      of the plain run; 60 by default
#     [SLOW_TIMEOUT seconds] under valgrind or a sanitizer; 600 by default
#     [NOT_UNDER tool...]    the tools that cannot run it, of valgrind, address and thread; say why
#                            in a comment
#     [CAN_SKIP]             exit code 77 of the plain run means skipped; elsewhere it always does
#     [ROWS]                 its tests are rows of the fault matrix (docs/testing.md)
#     [VALGRIND_INSIDE])     if UPSTREAM_VALGRIND is set, it starts an agent under valgrind itself
#
# NAME.c is a cmocka program. It is registered as NAME, and once more under valgrind as
# NAME_valgrind, with the label `valgrind`. In a build with a sanitizer it is registered once:
# valgrind would only find the same faults again. Each test finds the source tree through the macro
# UPSTREAM_SOURCE_DIR.
function(upstream_c_test name)
    cmake_parse_arguments(PARSE_ARGV 1 arg
        "CAN_SKIP;ROWS;VALGRIND_INSIDE" "TIMEOUT;SLOW_TIMEOUT" "NEEDS;SOURCES;NOT_UNDER")
    check_declaration("${name}" "${arg_UNPARSED_ARGUMENTS}" "${arg_NEEDS}" "${arg_NOT_UNDER}")
    if(NOT arg_TIMEOUT)
        set(arg_TIMEOUT 60)
    endif()
    if(NOT arg_SLOW_TIMEOUT)
        set(arg_SLOW_TIMEOUT 600)
    endif()

    set(variables ${sanitizer_variables})
    foreach(need IN LISTS arg_NEEDS)
        if(need_${need}_target AND NOT TARGET ${need_${need}_target})
            leave_out("${name}" "which need ${need}")
            return()
        endif()
        list(APPEND variables ${need_${need}_variables})
    endforeach()
    if(UPSTREAM_SANITIZE AND UPSTREAM_SANITIZE IN_LIST arg_NOT_UNDER)
        leave_out("${name}" "not for the ${UPSTREAM_SANITIZE} sanitizer")
        return()
    endif()

    c_test_program(${name} "${arg_NEEDS}" "${arg_SOURCES}")

    set(registered ${name})
    set(slow TIMEOUT ${arg_SLOW_TIMEOUT} SKIP_RETURN_CODE 77)
    if(UPSTREAM_SANITIZE)
        add_test(NAME ${name} COMMAND ${name})
        set_tests_properties(${name} PROPERTIES ${slow} ENVIRONMENT "${variables}")
    elseif(arg_ROWS)
        fault_rows(${name} ${arg_TIMEOUT} "${variables}")
        set(registered "")
    else()
        add_test(NAME ${name} COMMAND ${name})
        set_tests_properties(${name} PROPERTIES TIMEOUT ${arg_TIMEOUT} ENVIRONMENT "${variables}")
        if(arg_CAN_SKIP)
            set_tests_properties(${name} PROPERTIES SKIP_RETURN_CODE 77)
        endif()
    endif()

    if(NOT UPSTREAM_SANITIZE AND NOT "valgrind" IN_LIST arg_NOT_UNDER)
        set(under "${CMAKE_CURRENT_SOURCE_DIR}/support/valgrind.sh")
        if(arg_VALGRIND_INSIDE)
            set(under "")
        endif()
        add_test(NAME ${name}_valgrind COMMAND ${under} $<TARGET_FILE:${name}>)
        set_tests_properties(${name}_valgrind PROPERTIES
            ${slow} LABELS valgrind ENVIRONMENT "${variables};UPSTREAM_VALGRIND=1")
        list(APPEND registered ${name}_valgrind)
    endif()
    if("peers" IN_LIST arg_NEEDS)
        set_tests_properties(${registered} PROPERTIES FIXTURES_REQUIRED forward_peers)
    endif()
endfunction()

# Words that nothing knows stop the configure step: a typing error must not leave a test out.
function(check_declaration name unknown needs not_under)
    if(unknown)
        message(FATAL_ERROR "${name}: upstream_c_test() does not know the argument ${unknown}")
    endif()
    if(NOT EXISTS "${CMAKE_CURRENT_SOURCE_DIR}/${name}.c")
        message(FATAL_ERROR "${name} is declared, but there is no c_tests/${name}.c")
    endif()
    foreach(need IN LISTS needs)
        if(NOT need IN_LIST known_needs)
            message(FATAL_ERROR
                "${name}: nothing is known of the need \"${need}\"; known are ${known_needs}")
        endif()
    endforeach()
    foreach(tool IN LISTS not_under)
        if(NOT tool MATCHES "^(valgrind|address|thread)$")
            message(FATAL_ERROR
                "${name}: NOT_UNDER takes valgrind, address and thread, not \"${tool}\"")
        endif()
    endforeach()
    set_property(DIRECTORY APPEND PROPERTY declared_c_tests "${name}")
endfunction()

function(leave_out name reason)
    set_property(DIRECTORY APPEND PROPERTY left_out_reasons "${reason}")
    set_property(DIRECTORY APPEND PROPERTY "left_out: ${reason}" "${name}")
endfunction()

function(c_test_program name needs sources)
    add_executable(${name} ${name}.c ${sources})
    set_target_properties(${name} PROPERTIES C_STANDARD 11 C_EXTENSIONS OFF)
    target_compile_options(${name} PRIVATE ${warnings})
    target_compile_definitions(${name} PRIVATE "UPSTREAM_SOURCE_DIR=\"${PROJECT_SOURCE_DIR}\"")
    target_link_libraries(${name} PRIVATE
        upstream::upstream PkgConfig::CMOCKA pthread c_test_support)
    if("forward" IN_LIST needs)
        target_link_libraries(${name} PRIVATE forward)
    endif()
endfunction()

# Each row of the fault matrix is a test of its own: fault_ROW for each cmocka_unit_test(ROW) in
# NAME.c, so that none is forgotten. What the kernel does not allow is shown as skipped.
function(fault_rows name timeout variables)
    set(source "${CMAKE_CURRENT_SOURCE_DIR}/${name}.c")
    set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS "${source}")
    file(READ "${source}" text)
    string(REGEX MATCHALL "cmocka_unit_test[a-z_]*\\([ \n]*[a-z0-9_]+" entries "${text}")
    if(NOT entries OR NOT text MATCHES "check_run_tests\\(")
        message(FATAL_ERROR
            "${name}: ROWS needs cmocka_unit_test() entries, run by check_run_tests()")
    endif()
    foreach(entry IN LISTS entries)
        string(REGEX REPLACE ".*[( \n]" "" row "${entry}")
        add_test(NAME fault_${row} COMMAND ${name})
        set_tests_properties(fault_${row} PROPERTIES
            TIMEOUT ${timeout} LABELS fault ENVIRONMENT "${variables};UPSTREAM_TEST_FILTER=${row}"
            SKIP_RETURN_CODE 77)
    endforeach()
endfunction()

# After the last declaration: fails if a test_*.c is not declared, and says which tests this build
# leaves out.
function(check_all_declared)
    get_property(declared DIRECTORY PROPERTY declared_c_tests)
    file(GLOB programs CONFIGURE_DEPENDS "${CMAKE_CURRENT_SOURCE_DIR}/test_*.c")
    foreach(program IN LISTS programs)
        get_filename_component(name "${program}" NAME_WE)
        if(NOT name IN_LIST declared)
            message(FATAL_ERROR "c_tests/${name}.c is not declared, so it would never run. "
                "Add upstream_c_test(${name}) to c_tests/CMakeLists.txt, with what it NEEDS; "
                "c_tests/declare.cmake lists the words")
        endif()
    endforeach()
    get_property(reasons DIRECTORY PROPERTY left_out_reasons)
    list(REMOVE_DUPLICATES reasons)
    foreach(reason IN LISTS reasons)
        get_property(names DIRECTORY PROPERTY "left_out: ${reason}")
        list(JOIN names ", " names)
        message(STATUS "C tests left out, ${reason}: ${names}")
    endforeach()
endfunction()
