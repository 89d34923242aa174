include("${CMAKE_CURRENT_LIST_DIR}/coatiTargets.cmake")
