#include "launch/report/report.h"

#include <CLI/CLI.hpp>
#include <cstdio>
#include <memory>

#include "launch/commands/commands.h"
#include "launch/commands/job.h"

namespace launch {

void add_report_command(CLI::App& app, Invocation&) {
  auto run = std::make_shared<std::string>();
  CLI::App* command = app.add_subcommand("report", "write report.html into a run folder");
  command->add_option("run", *run, "run folder")->required();
  command->callback([run] {
    run_once([&] {
      write_report(*run);
      std::printf("wrote %s/report.html\n", run->c_str());
    });
  });
}

}  // namespace launch
