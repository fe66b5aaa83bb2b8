// The program's commands: one add_<name>_command for each file of this folder.
// defines: run_command_line
#pragma once

namespace CLI {
class App;
}

namespace launch {

/// Exit codes of the program.
enum ExitCode : int { kDone = 0, kUserFault = 1, kInternalFault = 2, kInterrupted = 3 };

/// What a command came to; written by the command that was given.
struct CommandResult {
  int exit_code = kDone;
};

void add_prepare_command(CLI::App& app, CommandResult& result);
void add_train_command(CLI::App& app, CommandResult& result);
void add_evaluate_command(CLI::App& app, CommandResult& result);
void add_generate_command(CLI::App& app, CommandResult& result);
void add_export_command(CLI::App& app, CommandResult& result);
void add_inspect_command(CLI::App& app, CommandResult& result);
void add_report_command(CLI::App& app, CommandResult& result);
void add_doctor_command(CLI::App& app, CommandResult& result);
void add_bench_command(CLI::App& app, CommandResult& result);
void add_plan_command(CLI::App& app, CommandResult& result);
void add_profile_command(CLI::App& app, CommandResult& result);

/// Parses the command line, runs its command and turns every exception into a message and an exit code.
int run_command_line(int argc, char** argv);

}  // namespace launch
