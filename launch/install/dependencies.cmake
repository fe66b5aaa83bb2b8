# What moetrain is built on and linked with, as imported targets. Read by the tree and by its installed package alike.
# Wants MOETRAIN_TORCH, the folder with LibTorch's include/ and lib/, and MOETRAIN_CUDA; sets MOETRAIN_CUDA to OFF where
# there is no CUDA, and MOETRAIN_RPATH.

# ---- LibTorch: imported targets made here, because find_package(Torch) of the CUDA wheel demands nvcc. ----
if(NOT EXISTS "${MOETRAIN_TORCH}/lib/libtorch_cpu.so")
  message(FATAL_ERROR "LibTorch not found in '${MOETRAIN_TORCH}': run launch/setup, or pass -DMOETRAIN_TORCH=DIR")
endif()
get_filename_component(WHEELS ${MOETRAIN_TORCH}/.. ABSOLUTE)
message(STATUS "LibTorch: ${MOETRAIN_TORCH}")
add_library(moetrain_torch INTERFACE IMPORTED GLOBAL)
target_include_directories(moetrain_torch SYSTEM INTERFACE
  ${MOETRAIN_TORCH}/include ${MOETRAIN_TORCH}/include/torch/csrc/api/include)
target_link_libraries(moetrain_torch INTERFACE ${MOETRAIN_TORCH}/lib/libtorch_cpu.so ${MOETRAIN_TORCH}/lib/libc10.so)
set(MOETRAIN_RPATH ${MOETRAIN_TORCH}/lib)
# Our own loops run on LibTorch's threads: its OpenMP runtime where it brings one, or there would be two.
file(GLOB BUNDLED_OPENMP ${MOETRAIN_TORCH}/lib/libgomp*.so* ${WHEELS}/torch.libs/libgomp*.so*
  ${MOETRAIN_TORCH}/lib/libiomp5*.so* ${WHEELS}/torch.libs/libiomp5*.so*)  # which has libgomp's functions too
if(BUNDLED_OPENMP)
  list(GET BUNDLED_OPENMP 0 OPENMP_LIBRARY)
else()
  find_library(OPENMP_LIBRARY NAMES gomp libgomp.so.1 REQUIRED)
endif()
add_library(moetrain_openmp INTERFACE IMPORTED GLOBAL)
target_link_libraries(moetrain_openmp INTERFACE ${OPENMP_LIBRARY})

find_path(NCCL_INCLUDE nccl.h HINTS ${WHEELS}/nvidia/nccl/include)
find_library(NCCL_LIBRARY NAMES libnccl.so.2 nccl HINTS ${WHEELS}/nvidia/nccl/lib)
find_path(CUDA_INCLUDE cuda_runtime_api.h HINTS ${WHEELS}/nvidia/cu13/include ENV CUDA_HOME PATH_SUFFIXES include)
# Two sets of headers that CUDA's own need lie in wheels of their own (launch/setup installs them).
find_path(CUDA_CRT_INCLUDE crt/host_config.h HINTS ${WHEELS}/nvidia/cu13/include ENV CUDA_HOME PATH_SUFFIXES include)
find_path(CUDA_CCCL_INCLUDE nv/target HINTS ${WHEELS}/nvidia/cu13/include/cccl ENV CUDA_HOME PATH_SUFFIXES include/cccl include)
find_library(CUDART_LIBRARY NAMES libcudart.so.13 cudart HINTS ${WHEELS}/nvidia/cu13/lib ENV CUDA_HOME PATH_SUFFIXES lib64)
if(MOETRAIN_CUDA AND NOT (EXISTS ${MOETRAIN_TORCH}/lib/libtorch_cuda.so AND NCCL_LIBRARY AND CUDART_LIBRARY AND NCCL_INCLUDE AND CUDA_INCLUDE
   AND CUDA_CRT_INCLUDE AND CUDA_CCCL_INCLUDE))
  message(STATUS "CUDA: this LibTorch or NCCL has none; building for CPU only")
  set(MOETRAIN_CUDA OFF)
endif()
if(MOETRAIN_CUDA)
  add_library(moetrain_torch_cuda INTERFACE IMPORTED GLOBAL)
  target_include_directories(moetrain_torch_cuda SYSTEM INTERFACE ${NCCL_INCLUDE} ${CUDA_INCLUDE} ${CUDA_CRT_INCLUDE} ${CUDA_CCCL_INCLUDE})
  target_link_libraries(moetrain_torch_cuda INTERFACE -Wl,--push-state,--no-as-needed ${MOETRAIN_TORCH}/lib/libtorch_cuda.so
    ${MOETRAIN_TORCH}/lib/libc10_cuda.so -Wl,--pop-state ${NCCL_LIBRARY} ${CUDART_LIBRARY} moetrain_torch)
  get_filename_component(NCCL_FOLDER ${NCCL_LIBRARY} DIRECTORY)
  get_filename_component(CUDART_FOLDER ${CUDART_LIBRARY} DIRECTORY)
  list(APPEND MOETRAIN_RPATH ${NCCL_FOLDER} ${CUDART_FOLDER})
endif()

# ---- Debian packages (or a cluster's modules). ----
find_package(Threads REQUIRED)
find_package(ZLIB REQUIRED)
find_package(PNG REQUIRED)
find_package(MPI REQUIRED COMPONENTS C)
# Its C++ bindings are long dead, but mpi.h still declares them, and they would have to be linked.
set_property(TARGET MPI::MPI_C APPEND PROPERTY INTERFACE_COMPILE_DEFINITIONS OMPI_SKIP_MPICXX MPICH_SKIP_MPICXX)
set(HDF5_PREFER_PARALLEL ON)
find_package(HDF5 REQUIRED COMPONENTS C)
if(NOT HDF5_IS_PARALLEL)
  message(FATAL_ERROR "HDF5 at ${HDF5_INCLUDE_DIRS} has no parallel I/O; pass -DHDF5_ROOT=DIR")
endif()
add_library(moetrain_hdf5 INTERFACE IMPORTED GLOBAL)
target_include_directories(moetrain_hdf5 SYSTEM INTERFACE ${HDF5_INCLUDE_DIRS})
target_compile_definitions(moetrain_hdf5 INTERFACE ${HDF5_DEFINITIONS})
target_link_libraries(moetrain_hdf5 INTERFACE ${HDF5_LIBRARIES} MPI::MPI_C)  # its parallel header includes mpi.h
find_package(nlohmann_json REQUIRED)
find_package(tomlplusplus REQUIRED)
find_package(CLI11 REQUIRED)
find_library(SENTENCEPIECE_LIBRARY sentencepiece REQUIRED)
find_library(SENTENCEPIECE_TRAIN_LIBRARY sentencepiece_train REQUIRED)
find_library(ZSTD_LIBRARY zstd REQUIRED)
find_library(XXHASH_LIBRARY xxhash REQUIRED)
find_library(PCRE2_LIBRARY pcre2-8 REQUIRED)
find_package(ICU REQUIRED COMPONENTS uc)
