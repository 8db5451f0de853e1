# find_package(petar) gives the target petar::petar. Installed in <prefix>/lib/cmake/petar.
get_filename_component(_petar_prefix "${CMAKE_CURRENT_LIST_DIR}/../../.." ABSOLUTE)
if(NOT TARGET petar::petar)
  add_library(petar::petar SHARED IMPORTED)
  set_target_properties(petar::petar PROPERTIES
    IMPORTED_LOCATION "${_petar_prefix}/lib/libpetar.so.0"
    IMPORTED_SONAME "libpetar.so.0"
    INTERFACE_INCLUDE_DIRECTORIES "${_petar_prefix}/include")
endif()
unset(_petar_prefix)
