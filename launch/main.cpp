#include <cstdio>

#include "launch/commands/commands.h"

int main(int argc, char** argv) {
  // Into a file or a pipe too each line is there when it is said: before what comes next, and before an error.
  std::setvbuf(stdout, nullptr, _IOLBF, BUFSIZ);
  return launch::run_command_line(argc, argv, launch::builtin_registry());
}
