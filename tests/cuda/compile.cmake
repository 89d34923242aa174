# Configures a build with the CUDA backend and builds its plugins alone.
include(ProcessorCount)
ProcessorCount(cores)
execute_process(COMMAND ${CMAKE_COMMAND} -G Ninja -S ${SOURCE} -B ${BUILD} -DCMAKE_BUILD_TYPE=Release -DCOATI_CUDA=ON -DCOATI_TESTS=OFF
  -DCMAKE_CUDA_COMPILER=${NVCC} -DCMAKE_CUDA_ARCHITECTURES=90a-real -DCMAKE_C_FLAGS=-Werror RESULT_VARIABLE failed) # nobody else sees their warnings
if(failed)
  message(FATAL_ERROR "configuring with COATI_CUDA=ON failed")
endif()
execute_process(COMMAND ${CMAKE_COMMAND} --build ${BUILD} --target help OUTPUT_VARIABLE targets)
if(targets MATCHES "coati_comm_nccl") # where NCCL is found as well
  set(nccl coati_comm_nccl)
endif()
execute_process(COMMAND ${CMAKE_COMMAND} --build ${BUILD} --target coati_backend_cuda ${nccl} -j ${cores} RESULT_VARIABLE failed)
if(failed)
  message(FATAL_ERROR "the CUDA backend does not compile")
endif()
