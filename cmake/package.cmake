# Archives and Debian packages (`cpack -G DEB`, `cpack -G TGZ` in the build folder), one for each
# component: runtime (the shared library), devel (header, static library, CMake and pkg-config
# files, documentation), tools (upstream-forward).

set(CPACK_PACKAGE_NAME libupstream)
set(CPACK_PACKAGE_VENDOR "The libupstream authors")
set(CPACK_PACKAGE_CONTACT "The libupstream authors")
set(CPACK_PACKAGE_DESCRIPTION_SUMMARY "${PROJECT_DESCRIPTION}")
set(CPACK_RESOURCE_FILE_LICENSE "${PROJECT_SOURCE_DIR}/LICENSE")
set(CPACK_GENERATOR "DEB;TGZ")
set(CPACK_STRIP_FILES OFF)
set(CPACK_COMPONENTS_ALL runtime devel)
if(TARGET upstream-forward)
    list(APPEND CPACK_COMPONENTS_ALL tools)
endif()

set(CPACK_ARCHIVE_COMPONENT_INSTALL ON)

set(CPACK_DEB_COMPONENT_INSTALL ON)
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_SECTION libs)
set(CPACK_DEBIAN_RUNTIME_PACKAGE_NAME "libupstream${UPSTREAM_SOVERSION}")
set(CPACK_DEBIAN_RUNTIME_PACKAGE_DEPENDS "libc6 (>= 2.34), libgcc-s1")
# What lets other packages find out that they need it, and runs ldconfig. Written here, because
# cpack's own way needs the program `file`.
file(WRITE "${PROJECT_BINARY_DIR}/package/shlibs"
    "libupstream ${UPSTREAM_SOVERSION} libupstream${UPSTREAM_SOVERSION} (>= ${PROJECT_VERSION})\n")
file(WRITE "${PROJECT_BINARY_DIR}/package/triggers" "activate-noawait ldconfig\n")
set(CPACK_DEBIAN_RUNTIME_PACKAGE_CONTROL_EXTRA
    "${PROJECT_BINARY_DIR}/package/shlibs" "${PROJECT_BINARY_DIR}/package/triggers")

set(CPACK_DEBIAN_DEVEL_PACKAGE_NAME libupstream-dev)
set(CPACK_DEBIAN_DEVEL_PACKAGE_SECTION libdevel)
set(CPACK_DEBIAN_DEVEL_PACKAGE_DEPENDS "libupstream${UPSTREAM_SOVERSION} (= ${PROJECT_VERSION})")

set(CPACK_DEBIAN_TOOLS_PACKAGE_NAME upstream-tools)
set(CPACK_DEBIAN_TOOLS_PACKAGE_SECTION utils)
set(CPACK_DEBIAN_TOOLS_PACKAGE_DEPENDS
    "libupstream${UPSTREAM_SOVERSION} (>= ${PROJECT_VERSION}), libc6 (>= 2.34), libmsgpackc2")
string(APPEND CPACK_DEBIAN_TOOLS_PACKAGE_DEPENDS ", libnettle8, zlib1g")

include(CPack)
