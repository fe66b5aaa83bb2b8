#include <CLI/CLI.hpp>
#include <cstdio>

#include "launch/commands/commands.h"
#include "launch/training/build_id.h"
#include "parallel/base/fault.h"
#include "parallel/comm/agreement.h"

namespace launch {

int run_command_line(int argc, char** argv) {
  CLI::App app("moetrain: trains Mixture-of-Experts models at any scale", "moetrain");
  app.set_version_flag("--version", [] { return build_id(); });
  app.require_subcommand(1);
  CommandResult result;
  add_prepare_command(app, result);
  add_train_command(app, result);
  add_evaluate_command(app, result);
  add_generate_command(app, result);
  add_export_command(app, result);
  add_inspect_command(app, result);
  add_report_command(app, result);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? kDone : kUserFault;
  } catch (const parallel::ReportedElsewhere&) {
    return kUserFault;
  } catch (const parallel::UserError& error) {
    std::fprintf(stderr, "moetrain: %s\n", error.what());
    return kUserFault;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "moetrain: internal fault: %s\n", error.what());
    return kInternalFault;
  }
  return result.exit_code;
}

}  // namespace launch
