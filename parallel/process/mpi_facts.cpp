#include "parallel/process/mpi_facts.h"

#include <mpi.h>

#include <vector>

#include "parallel/process/mpi_check.h"

namespace parallel {
namespace {

std::optional<std::string> read_text(int index) {
  MPI_Datatype type = MPI_DATATYPE_NULL;
  MPI_T_enum names = MPI_T_ENUM_NULL;
  int verbosity = 0, bind = 0, scope = 0, name_length = 0, text_length = 0;
  if (MPI_T_cvar_get_info(index, nullptr, &name_length, &verbosity, &type, &names, nullptr, &text_length, &bind,
                          &scope) != MPI_SUCCESS ||
      type != MPI_CHAR) {
    return {};
  }
  MPI_T_cvar_handle handle = MPI_T_CVAR_HANDLE_NULL;
  int count = 0;
  if (MPI_T_cvar_handle_alloc(index, nullptr, &handle, &count) != MPI_SUCCESS) return {};
  std::vector<char> text(static_cast<size_t>(count) + 1, '\0');
  const bool read = MPI_T_cvar_read(handle, text.data()) == MPI_SUCCESS;
  MPI_T_cvar_handle_free(&handle);
  return read ? std::optional<std::string>(text.data()) : std::nullopt;
}

}  // namespace

std::string mpi_library(MpiEngine& engine) {
  char text[MPI_MAX_LIBRARY_VERSION_STRING] = {};
  int length = 0;
  engine.run([&] { check_mpi(MPI_Get_library_version(text, &length), "MPI_Get_library_version"); });
  const std::string whole(text, static_cast<size_t>(length));
  return whole.substr(0, whole.find_first_of(",\n"));
}

std::optional<std::string> mpi_text_parameter(MpiEngine& engine, const std::string& name) {
  std::optional<std::string> value;
  engine.run([&] {
    int provided = 0, index = 0;
    if (MPI_T_init_thread(MPI_THREAD_SINGLE, &provided) != MPI_SUCCESS) return;
    if (MPI_T_cvar_get_index(name.c_str(), &index) == MPI_SUCCESS) value = read_text(index);
    MPI_T_finalize();
  });
  return value;
}

}  // namespace parallel
