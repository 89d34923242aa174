# coati: the headers (coati::headers), the programs plugins are tested with (coati::run, coati::validate), and
# coati_add_plugin(kind name sources...). coati_PLUGIN_DIR is where installed plugins live.
include("${CMAKE_CURRENT_LIST_DIR}/coatiTargets.cmake")
get_target_property(coati_include coati::headers INTERFACE_INCLUDE_DIRECTORIES)
get_filename_component(coati_prefix "${coati_include}" DIRECTORY)
get_filename_component(coati_PLUGIN_DIR "${CMAKE_CURRENT_LIST_DIR}/../../coati/1" ABSOLUTE)
foreach(program run validate convert generate inspect)
  if(NOT TARGET coati::${program} AND EXISTS "${coati_prefix}/bin/coati-${program}")
    add_executable(coati::${program} IMPORTED)
    set_target_properties(coati::${program} PROPERTIES IMPORTED_LOCATION "${coati_prefix}/bin/coati-${program}")
  endif()
endforeach()

# coati-<kind>-<name>.so in the build folder, as target coati_<kind>_<name>: one exported symbol, nothing left undefined.
function(coati_add_plugin kind name)
  set(target coati_${kind}_${name})
  add_library(${target} MODULE ${ARGN})
  set_target_properties(${target} PROPERTIES PREFIX "" OUTPUT_NAME coati-${kind}-${name} C_VISIBILITY_PRESET hidden
    CXX_VISIBILITY_PRESET hidden POSITION_INDEPENDENT_CODE ON)
  target_link_libraries(${target} PRIVATE coati::headers)
  target_link_options(${target} PRIVATE -Wl,-z,defs)
  target_compile_definitions(${target} PRIVATE
    CO_BUILT_WITH="${CMAKE_C_COMPILER_ID} ${CMAKE_C_COMPILER_VERSION}, coati ${coati_VERSION}")
  install(TARGETS ${target} LIBRARY DESTINATION lib/coati/1)
endfunction()
