#include "launch/report/report.h"

#include <CLI/CLI.hpp>
#include <cstdio>
#include <memory>

#include "launch/commands/commands.h"
#include "launch/commands/job.h"
#include "launch/records/describe_records.h"
#include "parallel/base/fault.h"

namespace launch {

void add_report_command(CLI::App& app, Invocation&) {
  auto run = std::make_shared<std::string>();
  auto records = std::make_shared<bool>(false);
  CLI::App* command = app.add_subcommand("report", "write report.html into a run folder");
  CLI::Option* folder = command->add_option("run", *run, "run folder");
  folder->excludes(
      command->add_flag("--records", *records, "print what metrics.jsonl and evaluation.json hold, and end"));
  command->callback([run, records] {
    run_once([&] {
      if (*records) return static_cast<void>(std::printf("%s", describe_records().c_str()));
      if (run->empty()) parallel::user_error("report needs a run folder: moetrain report runs/first");
      write_report(*run);
      std::printf("wrote %s/report.html\n", run->c_str());
    });
  });
}

}  // namespace launch
