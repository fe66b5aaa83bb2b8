#include "launch/commands/options/output_file.h"

#include <unistd.h>

#include "parallel/base/fault.h"

namespace launch {

void check_output_file(const std::string& option, const std::filesystem::path& path,
                       const std::vector<std::filesystem::path>& sources) {
  namespace fs = std::filesystem;
  std::error_code error;
  for (const fs::path& source : sources) {
    if (!fs::equivalent(path, source, error) || error) continue;
    parallel::user_error(option, " ", path.string(), " is ", source.string(),
                         ", which this command reads; legal: a file of another name");
  }
  const fs::file_status status = fs::status(path, error);
  if (fs::is_directory(status)) {
    parallel::user_error(option, " ", path.string(), " is a folder; legal: the name of a file in it");
  }
  const fs::path folder = fs::absolute(path).parent_path();
  if (fs::is_directory(folder, error) && (fs::exists(status) || access(folder.c_str(), W_OK) == 0)) return;
  parallel::user_error(option, " ", path.string(), ": no file can be made in ", folder.string(),
                       "; legal: a file of a folder that is there and may be written into");
}

}  // namespace launch
