# One function per kind of target; flags and folders are decided here and nowhere else.
include(GNUInstallDirs)

set(CMAKE_C_STANDARD 11)
set(CMAKE_C_EXTENSIONS OFF)
set(CMAKE_CXX_STANDARD 17)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
set(CMAKE_RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/bin)
set(COATI_PLUGIN_DIR ${CMAKE_BINARY_DIR}/lib/coati/1)
if(NOT CMAKE_BUILD_TYPE)
  set(CMAKE_BUILD_TYPE Release)
endif()
find_package(Threads REQUIRED)
find_package(OpenMP REQUIRED COMPONENTS C) # here, so that static programs see the imported target too
find_package(MPI QUIET COMPONENTS C) # likewise; without it there is no comm mpi

# Warnings and feature macros every target of ours gets.
function(coati_flags target)
  target_compile_options(${target} PRIVATE
    $<$<COMPILE_LANGUAGE:C>:-Wall -Wextra -Wshadow -Wpointer-arith -Wstrict-prototypes -Wmissing-prototypes
      -Wvla -Wformat=2 -Wno-format-nonliteral -Wno-missing-field-initializers -fno-math-errno>
    $<$<COMPILE_LANGUAGE:CXX>:-Wall -Wextra>)
  target_compile_definitions(${target} PRIVATE _GNU_SOURCE)
endfunction()

# coati_add_plugin(kind name sources… [FEATURES kind/name…]): coati-<kind>-<name>.so, or an object library when plugins are
# static. FEATURES: what else the file offers, for plugins.index. Further properties go to target coati_<kind>_<name>.
function(coati_add_plugin kind name)
  cmake_parse_arguments(PLUGIN "" "" "FEATURES" ${ARGN})
  set(target coati_${kind}_${name})
  foreach(feature ${kind}/${name} ${PLUGIN_FEATURES})
    string(REPLACE "/" " " row ${feature})
    set_property(GLOBAL APPEND_STRING PROPERTY COATI_PLUGIN_INDEX "${row} coati-${kind}-${name}.so\n")
  endforeach()
  if(COATI_STATIC_PLUGINS)
    add_library(${target} OBJECT ${PLUGIN_UNPARSED_ARGUMENTS})
    target_compile_definitions(${target} PRIVATE CO_STATIC_PLUGIN=${kind}_${name})
    set_property(GLOBAL APPEND PROPERTY COATI_STATIC_LIST ${kind}_${name})
  else()
    add_library(${target} MODULE ${PLUGIN_UNPARSED_ARGUMENTS})
    set_target_properties(${target} PROPERTIES
      PREFIX "" OUTPUT_NAME coati-${kind}-${name} LIBRARY_OUTPUT_DIRECTORY ${COATI_PLUGIN_DIR})
    target_link_options(${target} PRIVATE -Wl,-z,defs)
    install(TARGETS ${target} LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR}/coati/1)
  endif()
  set_target_properties(${target} PROPERTIES C_VISIBILITY_PRESET hidden CXX_VISIBILITY_PRESET hidden CUDA_VISIBILITY_PRESET hidden)
  target_compile_definitions(${target} PRIVATE
    CO_BUILT_WITH="${CMAKE_C_COMPILER_ID} ${CMAKE_C_COMPILER_VERSION}, coati ${PROJECT_VERSION}")
  target_link_libraries(${target} PRIVATE coati::headers)
  coati_flags(${target})
endfunction()

# coati_add_tool(name sources…): a program over the core.
function(coati_add_tool name)
  add_executable(${name} ${ARGN})
  target_link_libraries(${name} PRIVATE coati_core)
  target_compile_definitions(${name} PRIVATE COATI_VERSION="${PROJECT_VERSION}")
  coati_flags(${name})
  install(TARGETS ${name} RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
endfunction()

# coati_add_test(name [NO_RUN] sources…): a test program over the core, run from the build folder unless NO_RUN. It finds files through
# COATI_SOURCE_DIR (compile-time) and plugins through COATI_PLUGIN_PATH (environment). Threads that wait sleep: on a busy
# machine spinning ones make tiny models fifteen times slower.
function(coati_add_test name)
  cmake_parse_arguments(TEST "NO_RUN" "" "" ${ARGN})
  add_executable(${name} ${TEST_UNPARSED_ARGUMENTS})
  set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests)
  target_link_libraries(${name} PRIVATE coati_core m)
  target_include_directories(${name} PRIVATE ${CMAKE_SOURCE_DIR}/tests)
  target_compile_definitions(${name} PRIVATE COATI_SOURCE_DIR="${CMAKE_SOURCE_DIR}"
    COATI_BINARY_DIR="${CMAKE_BINARY_DIR}")
  coati_flags(${name})
  if(TEST_NO_RUN)
    return()
  endif()
  add_test(NAME ${name} COMMAND ${name})
  set_tests_properties(${name} PROPERTIES TIMEOUT 300
    ENVIRONMENT "COATI_PLUGIN_PATH=${COATI_PLUGIN_DIR};COATI_BIN=${CMAKE_RUNTIME_OUTPUT_DIRECTORY};OMP_WAIT_POLICY=passive")
endfunction()

# coati_add_ranks_test(name target ranks args…): a program of coati_add_test's kind, run by as many ranks on this machine. Leaks are
# told from Open MPI's by whole stacks, since it unloads parts of itself.
function(coati_add_ranks_test name target ranks)
  add_test(NAME ${name} COMMAND ${MPIEXEC_EXECUTABLE} --allow-run-as-root --oversubscribe --bind-to none
    --mca mpi_yield_when_idle 1 -n ${ranks} $<TARGET_FILE:${target}> ${ARGN})
  set_tests_properties(${name} PROPERTIES TIMEOUT 300 PROCESSORS 2 ENVIRONMENT
    "COATI_PLUGIN_PATH=${COATI_PLUGIN_DIR};COATI_BIN=${CMAKE_RUNTIME_OUTPUT_DIRECTORY};OMP_WAIT_POLICY=passive;OMP_NUM_THREADS=1;LSAN_OPTIONS=suppressions=${CMAKE_SOURCE_DIR}/tests/comm/lsan.supp:print_suppressions=0;ASAN_OPTIONS=fast_unwind_on_malloc=0")
endfunction()

# Called last: the table of built-in plugins (empty when they are shared) becomes part of the core, and programs get
# the plugins' objects through it.
function(coati_finish_static_plugins)
  get_property(list GLOBAL PROPERTY COATI_STATIC_LIST)
  set(text "#include <coati/plugin.h>\n")
  foreach(name ${list})
    string(APPEND text "const co_plugin *coati_plugin_v1_${name}(void);\n")
  endforeach()
  string(APPEND text "extern const co_entry_fn static_plugins[];\nconst co_entry_fn static_plugins[] = {\n")
  foreach(name ${list})
    string(APPEND text "    coati_plugin_v1_${name},\n")
    target_sources(coati_core INTERFACE $<TARGET_OBJECTS:coati_${name}>)
    target_link_libraries(coati_core INTERFACE $<TARGET_PROPERTY:coati_${name},LINK_LIBRARIES>)
  endforeach()
  string(APPEND text "    0};\n")
  file(GENERATE OUTPUT ${CMAKE_BINARY_DIR}/static_plugins.c CONTENT "${text}")
  target_sources(coati_core PRIVATE ${CMAKE_BINARY_DIR}/static_plugins.c)
endfunction()

# Called last: which file offers what, beside the plugins, in the build and when installed.
function(coati_write_plugin_index)
  if(COATI_STATIC_PLUGINS)
    return()
  endif()
  get_property(rows GLOBAL PROPERTY COATI_PLUGIN_INDEX)
  file(GENERATE OUTPUT ${COATI_PLUGIN_DIR}/plugins.index CONTENT "# kind name file\n${rows}")
  install(FILES ${COATI_PLUGIN_DIR}/plugins.index DESTINATION ${CMAKE_INSTALL_LIBDIR}/coati/1)
endfunction()
