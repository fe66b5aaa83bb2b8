#include "parallel/process/mpi_check.h"

#include <mpi.h>

#include <string>

#include "parallel/base/fault.h"

namespace parallel {

void check_mpi(int status, const char* call) {
  if (status == MPI_SUCCESS) return;
  char words[MPI_MAX_ERROR_STRING] = {};
  int length = 0;
  MPI_Error_string(status, words, &length);
  throw InternalError(concat(call, " failed: ", std::string(words, static_cast<size_t>(length))));
}

}  // namespace parallel
