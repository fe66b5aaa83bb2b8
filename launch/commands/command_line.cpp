#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <string>
#include <vector>

#include "launch/commands/commands.h"
#include "launch/training/build_id.h"
#include "parallel/base/fault.h"
#include "parallel/base/nearest.h"
#include "parallel/process/launcher.h"

namespace launch {
namespace {

/// CLI11 would only say that some command is required.
void check_command(const CLI::App& app, const std::string& word) {
  std::vector<std::string> names;
  for (const CLI::App* command : app.get_subcommands([](const CLI::App*) { return true; }))
    names.push_back(command->get_name());
  if (word.empty() || word.front() == '-' || std::ranges::count(names, word) > 0) return;
  const std::string nearest = parallel::nearest_name(word, names);
  parallel::user_error("unknown command '", word, "'; ",
                       nearest.empty() ? "known: " + parallel::list_names(names) : "did you mean '" + nearest + "'?");
}

}  // namespace

int run_command_line(int argc, char** argv) {
  CLI::App app("moetrain: trains Mixture-of-Experts models at any scale", "moetrain");
  app.set_version_flag("--version", [] { return build_id(); });
  app.require_subcommand(1);
  CommandResult result;
  const bool first = parallel::launcher_rank() == 0;  // every rank meets the same fault here; one speaks
  add_prepare_command(app, result);
  add_train_command(app, result);
  add_evaluate_command(app, result);
  add_generate_command(app, result);
  add_export_command(app, result);
  add_inspect_command(app, result);
  add_report_command(app, result);
  add_doctor_command(app, result);
  add_bench_command(app, result);
  add_plan_command(app, result);
  add_profile_command(app, result);
  try {
    check_command(app, argc > 1 ? argv[1] : "");
    app.parse(argc, argv);
  } catch (const CLI::Success& help_or_version) {
    return first ? app.exit(help_or_version) : kDone;
  } catch (const CLI::ParseError& error) {
    if (first) std::fprintf(stderr, "moetrain: %s (--help lists what there is)\n", error.what());
    return kUserFault;
  } catch (const parallel::UserError& error) {
    if (first) std::fprintf(stderr, "moetrain: %s\n", error.what());
    return kUserFault;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "moetrain: internal fault: %s\n", error.what());
    return kInternalFault;
  }
  return result.exit_code;
}

}  // namespace launch
