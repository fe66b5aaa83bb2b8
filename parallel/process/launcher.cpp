#include "parallel/process/launcher.h"

#include <cstdlib>

namespace parallel {
namespace {

const char* launcher_rank_text() {
  for (const char* name : {"OMPI_COMM_WORLD_RANK", "PMIX_RANK", "PMI_RANK"}) {
    if (const char* text = std::getenv(name)) return text;
  }
  return nullptr;
}

}  // namespace

bool under_launcher() { return launcher_rank_text() != nullptr; }

int64_t launcher_rank() {
  const char* text = launcher_rank_text();
  return text != nullptr ? std::atoll(text) : 0;
}

}  // namespace parallel
