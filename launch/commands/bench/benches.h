// The benches of `moetrain bench`, one file each.
// defines: add_bench_generate, add_bench_prepare, add_bench_save
#pragma once
#include "launch/commands/commands.h"

namespace launch {

void add_bench_generate(CLI::App& bench, Invocation& invocation);
void add_bench_prepare(CLI::App& bench, Invocation& invocation);
void add_bench_save(CLI::App& bench, Invocation& invocation);

}  // namespace launch
