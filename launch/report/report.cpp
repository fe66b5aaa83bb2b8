#include "launch/report/report.h"

#include <cerrno>
#include <cstring>
#include <fstream>
#include <string>
#include <system_error>

#include "launch/report/page.h"
#include "launch/report/page_data.h"
#include "launch/report/run_record.h"
#include "parallel/base/fault.h"

namespace launch {
namespace {

void write_whole(const std::filesystem::path& path, const std::string& content) {
  const std::filesystem::path temporary = path.string() + ".tmp";
  errno = 0;
  std::ofstream file(temporary, std::ios::binary | std::ios::trunc);
  file << content;
  file.close();
  std::error_code fault(file ? 0 : (errno != 0 ? errno : EIO), std::generic_category());
  if (!fault) std::filesystem::rename(temporary, path, fault);
  if (!fault) return;
  std::error_code ignored;
  std::filesystem::remove(temporary, ignored);
  parallel::user_error(path.string(), ": cannot be written: ", fault.message());
}

}  // namespace

void write_report(const std::filesystem::path& run_folder) {
  const run_report::RunRecord run = run_report::read_run(run_folder);
  write_whole(run_folder / "report.html",
              run_report::assemble_page(run_report::embedded_assets(), run_report::page_data(run)));
}

}  // namespace launch
