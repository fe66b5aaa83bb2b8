# The target device_kernels: the kernels of this room, for each generation of GPUs below and, as portable code, for later
# ones; where there is no nvcc of the linked CUDA's major version, a file that says so. By commands of our own: CMake
# 3.25's own support links test programs, which the wheels of nvcc alone (nvidia-cuda-nvcc, -crt, -cccl, nvidia-nvvm,
# beside LibTorch's) cannot.
set(MOETRAIN_GPU_CODE "-gencode;arch=compute_80,code=sm_80;-gencode;arch=compute_90,code=[sm_90,compute_90]"
  CACHE STRING "nvcc's words for the GPUs that kernels are compiled for")
find_program(MOETRAIN_NVCC nvcc HINTS ${WHEELS}/nvidia/cu13 ENV CUDA_HOME PATHS /usr/local/cuda PATH_SUFFIXES bin
  DOC "CUDA's compiler, for kernels of our own")

set(nvcc_fault "no nvcc")
if(MOETRAIN_NVCC)
  execute_process(COMMAND ${MOETRAIN_NVCC} --version OUTPUT_VARIABLE said ERROR_QUIET)
  string(REGEX MATCH "release ([0-9]+)[.0-9]*" nvcc_release "${said}")
  set(nvcc_major "${CMAKE_MATCH_1}")
  file(STRINGS ${CUDA_INCLUDE}/cuda_runtime_api.h version_line REGEX "#define CUDART_VERSION")
  string(REGEX MATCH "([0-9]+)[0-9][0-9][0-9]$" found "${version_line}")
  set(nvcc_fault "")
  if(NOT nvcc_major STREQUAL "${CMAKE_MATCH_1}")
    set(nvcc_fault "${MOETRAIN_NVCC} is of CUDA ${nvcc_major}, LibTorch of ${CMAKE_MATCH_1}")
  endif()
endif()

set(room ${CMAKE_CURRENT_SOURCE_DIR}/device_kernels)
set(nvcc_command ${MOETRAIN_NVCC} -std=c++17 -O3 ${MOETRAIN_GPU_CODE} -ccbin ${CMAKE_CXX_COMPILER} -Xcompiler=-fPIC,-Wall,-Wextra
  -Werror=all-warnings -I${CMAKE_SOURCE_DIR})
if(NOT nvcc_fault)
  # It may not take this host compiler, or lack its headers.
  execute_process(COMMAND ${nvcc_command} -c ${room}/table.cu -o ${CMAKE_CURRENT_BINARY_DIR}/nvcc_tried.o
    RESULT_VARIABLE failed OUTPUT_VARIABLE said ERROR_VARIABLE said)
  if(failed)
    string(REGEX MATCH "[^\n]+" first_line "${said}")
    set(nvcc_fault "${MOETRAIN_NVCC} fails: ${first_line}")
  endif()
endif()
# Of the build's identity (launch/runs/build_id.cpp).
set_property(GLOBAL PROPERTY MOETRAIN_DEVICE_KERNELS "nvcc ${nvcc_release}")
if(nvcc_fault)
  set_property(GLOBAL PROPERTY MOETRAIN_DEVICE_KERNELS "none")
  message(STATUS "Kernels of GPUs: ${nvcc_fault}; LibTorch's operations take their place")
  add_library(device_kernels STATIC ${room}/no_kernels.cpp)
  set_target_properties(device_kernels PROPERTIES COMPILED_BY_NVCC OFF)
else()
  message(STATUS "Kernels of GPUs: ${MOETRAIN_NVCC}")
  file(GLOB kernel_sources CONFIGURE_DEPENDS ${room}/*.cu)
  set(kernel_objects)
  foreach(source ${kernel_sources})
    get_filename_component(stem ${source} NAME_WE)
    set(object ${CMAKE_CURRENT_BINARY_DIR}/device_kernels/${stem}.o)
    add_custom_command(OUTPUT ${object} DEPENDS ${source} DEPFILE ${object}.d VERBATIM COMMENT "nvcc ${stem}.cu"
      COMMAND ${CMAKE_COMMAND} -E make_directory ${CMAKE_CURRENT_BINARY_DIR}/device_kernels
      COMMAND ${CCACHE_PROGRAM} ${nvcc_command} -MD -MF ${object}.d -c ${source} -o ${object})
    list(APPEND kernel_objects ${object})
  endforeach()
  add_library(device_kernels STATIC ${kernel_objects})
  set_target_properties(device_kernels PROPERTIES LINKER_LANGUAGE CXX COMPILED_BY_NVCC ON)
  target_link_libraries(device_kernels PUBLIC ${CUDART_LIBRARY})
endif()
target_include_directories(device_kernels PUBLIC ${CMAKE_SOURCE_DIR})
