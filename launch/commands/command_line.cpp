#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <string>
#include <vector>

#include "launch/commands/commands.h"
#include "launch/runs/build_id.h"
#include "parallel/base/fault.h"
#include "parallel/base/nearest.h"
#include "parallel/base/printable.h"
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

/// The arguments as CLI11 takes them, last one first. It would take a file [a,b] of an option that has several for a
/// list.
std::vector<std::string> arguments_of(int argc, char** argv) {
  const std::vector<std::string> of_files = {"--text", "--man", "--parallel", "--validation", "--test"};
  std::vector<std::string> arguments;
  bool names_files = false;
  for (int i = 1; i < argc; ++i) {
    std::string word = argv[i];
    if (word.starts_with("--")) names_files = std::ranges::count(of_files, word) > 0;
    if (names_files && word.starts_with('[') && word.ends_with(']')) word.insert(0, "./");
    arguments.push_back(std::move(word));
  }
  std::ranges::reverse(arguments);
  return arguments;
}

}  // namespace

parallel::NameTable<CommandMaker> builtin_commands() {
  return {"command",
          {{"prepare", add_prepare_command},
           {"train", add_train_command},
           {"evaluate", add_evaluate_command},
           {"generate", add_generate_command},
           {"export", add_export_command},
           {"import", add_import_command},
           {"transform", add_transform_command},
           {"verify", add_verify_command},
           {"diff", add_diff_command},
           {"inspect", add_inspect_command},
           {"report", add_report_command},
           {"doctor", add_doctor_command},
           {"bench", add_bench_command},
           {"plan", add_plan_command},
           {"profile", add_profile_command}}};
}

int run_command_line(int argc, char** argv, std::shared_ptr<const Registry> registry,
                     const parallel::NameTable<CommandMaker>& commands) {
  // Into a file or a pipe too each line is there when it is said: before what comes next, and before an error.
  std::setvbuf(stdout, nullptr, _IOLBF, BUFSIZ);
  CLI::App app("moetrain: trains Mixture-of-Experts models at any scale", "moetrain");
  app.set_version_flag("--version", [] { return build_id(); });
  app.require_subcommand(1);
  Invocation invocation{.registry = std::move(registry)};
  const bool first = parallel::launcher_rank() == 0;  // every rank meets the same fault here; one speaks
  for (const std::string& name : commands.names()) commands.at(name)(app, invocation);
  try {
    check_command(app, argc > 1 ? argv[1] : "");
    app.parse(arguments_of(argc, argv));
  } catch (const CLI::Success& help_or_version) {
    return first ? app.exit(help_or_version) : kDone;
  } catch (const CLI::ParseError& error) {
    if (first)
      std::fprintf(stderr, "moetrain: %s (--help lists what there is)\n", parallel::printable(error.what()).c_str());
    return kUserFault;
  } catch (const parallel::UserError& error) {
    if (first) std::fprintf(stderr, "moetrain: %s\n", parallel::printable(error.what()).c_str());
    return kUserFault;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "moetrain: internal fault: %s\n", error.what());
    return kInternalFault;
  }
  return invocation.exit_code;
}

}  // namespace launch
