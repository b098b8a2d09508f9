# What `cmake --install` lays down. Every path inside the installed files is relative to the file
# that holds it, so the whole prefix may be moved afterwards.
include(CMakePackageConfigHelpers)

set(package_dir "${CMAKE_INSTALL_LIBDIR}/cmake/upstream")
set(pkgconfig_dir "${CMAKE_INSTALL_LIBDIR}/pkgconfig")

install(PROGRAMS "${upstream_lib_dir}/${upstream_so}"
    DESTINATION "${CMAKE_INSTALL_LIBDIR}" COMPONENT runtime)
install(FILES "${upstream_lib_dir}/${upstream_so_link}"
    DESTINATION "${CMAKE_INSTALL_LIBDIR}" COMPONENT runtime)
install(FILES "${PROJECT_SOURCE_DIR}/LICENSE"
    DESTINATION "${CMAKE_INSTALL_DOCDIR}" COMPONENT runtime)

install(FILES "${upstream_lib_dir}/libupstream.so" "${upstream_lib_dir}/libupstream.a"
    DESTINATION "${CMAKE_INSTALL_LIBDIR}" COMPONENT devel)
install(DIRECTORY "${PROJECT_SOURCE_DIR}/include/upstream" DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}"
    COMPONENT devel FILES_MATCHING PATTERN "*.h")

# The documentation, with all that its links lead to.
install(FILES
    "${PROJECT_SOURCE_DIR}/README.md" "${PROJECT_SOURCE_DIR}/CHANGELOG.md"
    "${PROJECT_SOURCE_DIR}/CONTRIBUTING.md" "${PROJECT_SOURCE_DIR}/SECURITY.md"
    DESTINATION "${CMAKE_INSTALL_DOCDIR}" COMPONENT devel)
install(DIRECTORY "${PROJECT_SOURCE_DIR}/docs" "${PROJECT_SOURCE_DIR}/examples"
    DESTINATION "${CMAKE_INSTALL_DOCDIR}" COMPONENT devel)
install(PROGRAMS "${PROJECT_SOURCE_DIR}/scripts/receivers"
    DESTINATION "${CMAKE_INSTALL_DOCDIR}/scripts" COMPONENT devel)

# The CMake package. PACKAGE_* become paths relative to the config file's own place.
set(UPSTREAM_LIB_DIR "${CMAKE_INSTALL_LIBDIR}")
set(UPSTREAM_INCLUDE_DIR "${CMAKE_INSTALL_INCLUDEDIR}")
configure_package_config_file(
    "${PROJECT_SOURCE_DIR}/cmake/upstream-config.cmake.in"
    "${PROJECT_BINARY_DIR}/package/upstream-config.cmake"
    INSTALL_DESTINATION "${package_dir}"
    PATH_VARS UPSTREAM_LIB_DIR UPSTREAM_INCLUDE_DIR)
configure_file(
    "${PROJECT_SOURCE_DIR}/cmake/upstream-targets.cmake.in"
    "${PROJECT_BINARY_DIR}/package/upstream-targets.cmake" @ONLY)

# Before 1.0 a new minor version may change the ABI, afterwards only a new major one.
set(compatibility SameMajorVersion)
if(PROJECT_VERSION_MAJOR EQUAL 0)
    set(compatibility SameMinorVersion)
endif()
write_basic_package_version_file("${PROJECT_BINARY_DIR}/package/upstream-config-version.cmake"
    COMPATIBILITY ${compatibility})

install(FILES
    "${PROJECT_BINARY_DIR}/package/upstream-config.cmake"
    "${PROJECT_BINARY_DIR}/package/upstream-config-version.cmake"
    "${PROJECT_BINARY_DIR}/package/upstream-targets.cmake"
    DESTINATION "${package_dir}" COMPONENT devel)

# pkg-config. ${pcfiledir} is where the .pc file lies; an absolute library folder cannot be moved
# and stays as given.
string(REPLACE ";" " " UPSTREAM_PC_PRIVATE_LIBS "${UPSTREAM_STATIC_SYSTEM_LIBS}")
if(IS_ABSOLUTE "${CMAKE_INSTALL_LIBDIR}")
    set(UPSTREAM_PC_PREFIX "${CMAKE_INSTALL_PREFIX}")
    set(UPSTREAM_PC_LIBDIR "${CMAKE_INSTALL_LIBDIR}")
else()
    file(RELATIVE_PATH up "/${pkgconfig_dir}" "/")
    string(REGEX REPLACE "/$" "" up "${up}")
    set(UPSTREAM_PC_PREFIX "\${pcfiledir}/${up}")
    set(UPSTREAM_PC_LIBDIR "\${prefix}/${CMAKE_INSTALL_LIBDIR}")
endif()
if(IS_ABSOLUTE "${CMAKE_INSTALL_INCLUDEDIR}")
    set(UPSTREAM_PC_INCLUDEDIR "${CMAKE_INSTALL_INCLUDEDIR}")
else()
    set(UPSTREAM_PC_INCLUDEDIR "\${prefix}/${CMAKE_INSTALL_INCLUDEDIR}")
endif()
configure_file(
    "${PROJECT_SOURCE_DIR}/cmake/upstream.pc.in" "${PROJECT_BINARY_DIR}/package/upstream.pc" @ONLY)
install(FILES "${PROJECT_BINARY_DIR}/package/upstream.pc"
    DESTINATION "${pkgconfig_dir}" COMPONENT devel)
