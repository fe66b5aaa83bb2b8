// The program's commands: one add_<name>_command for each file of this folder.
// defines: Invocation, CommandMaker, builtin_commands, run_command_line
#pragma once
#include <memory>

#include "launch/recipe/registry.h"

namespace CLI {
class App;
}

namespace launch {

/// Exit codes of the program.
enum ExitCode : int { kDone = 0, kUserFault = 1, kInternalFault = 2, kInterrupted = 3 };

/// One run of the program: what the names in recipes mean, and what the command that was given came to.
struct Invocation {
  std::shared_ptr<const Registry> registry;
  int exit_code = kDone;
};

void add_prepare_command(CLI::App& app, Invocation& invocation);
void add_train_command(CLI::App& app, Invocation& invocation);
void add_evaluate_command(CLI::App& app, Invocation& invocation);
void add_generate_command(CLI::App& app, Invocation& invocation);
void add_export_command(CLI::App& app, Invocation& invocation);
void add_import_command(CLI::App& app, Invocation& invocation);
void add_transform_command(CLI::App& app, Invocation& invocation);
void add_verify_command(CLI::App& app, Invocation& invocation);
void add_diff_command(CLI::App& app, Invocation& invocation);
void add_inspect_command(CLI::App& app, Invocation& invocation);
void add_report_command(CLI::App& app, Invocation& invocation);
void add_doctor_command(CLI::App& app, Invocation& invocation);
void add_bench_command(CLI::App& app, Invocation& invocation);
void add_plan_command(CLI::App& app, Invocation& invocation);
void add_profile_command(CLI::App& app, Invocation& invocation);

/// Adds a command to the program.
using CommandMaker = void (*)(CLI::App& app, Invocation& invocation);

/// Those above, by name. A program outside the tree adds its own rows.
parallel::NameTable<CommandMaker> builtin_commands();

/// Parses the command line, runs its command and turns every exception into a message and an exit code. A program
/// outside the tree hands in a registry with rows of its own (recipes/extend). Before anything is printed.
int run_command_line(int argc, char** argv, std::shared_ptr<const Registry> registry,
                     const parallel::NameTable<CommandMaker>& commands = builtin_commands());

}  // namespace launch
