#include "launch/training/metrics.h"

#include <nlohmann/json.hpp>

#include "parallel/base/fault.h"

namespace launch {
namespace {

/// Cuts the file back to its last newline.
void drop_torn_line(const std::filesystem::path& path) {
  std::ifstream old(path, std::ios::binary);
  if (!old) return;
  const std::string text((std::istreambuf_iterator<char>(old)), std::istreambuf_iterator<char>());
  const size_t end = text.rfind('\n');
  const size_t whole = end == std::string::npos ? 0 : end + 1;
  if (whole != text.size()) std::filesystem::resize_file(path, whole);
}

}  // namespace

MetricsFile::MetricsFile(const std::filesystem::path& path) : path_(path) {
  drop_torn_line(path);
  file_.open(path, std::ios::app);
  if (!file_) parallel::user_error("cannot write ", path.string());
}

void MetricsFile::write(const char* event, const nlohmann::json& fields) {
  nlohmann::ordered_json line;
  line["event"] = event;
  for (const auto& [key, value] : fields.items()) line[key] = value;
  // A group's name may be any bytes.
  file_ << line.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) << '\n' << std::flush;
  failed_ = failed_ || !file_;
}

}  // namespace launch
