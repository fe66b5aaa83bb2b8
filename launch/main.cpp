#include "launch/commands/commands.h"

int main(int argc, char** argv) { return launch::run_command_line(argc, argv, launch::builtin_registry()); }
