// defines: check_mpi, the one path by which an MPI status becomes an exception
#pragma once

namespace parallel {

/// Throws InternalError naming `call` and MPI's own words unless `status` is MPI_SUCCESS.
void check_mpi(int status, const char* call);

}  // namespace parallel
