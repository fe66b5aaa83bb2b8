// defines: mpi_library, mpi_parameter: what MPI says of itself
#pragma once
#include <optional>
#include <string>

#include "parallel/process/mpi_engine.h"

namespace parallel {

/// "Open MPI v4.1.4": the first words of MPI's own description.
std::string mpi_library(MpiEngine& engine);

/// A text parameter that is in force (Open MPI: a framework's or component's, wherever it was set: command line,
/// environment, the site's file), by MPI's tools interface; nothing where this MPI has no such parameter.
std::optional<std::string> mpi_text_parameter(MpiEngine& engine, const std::string& name);

}  // namespace parallel
