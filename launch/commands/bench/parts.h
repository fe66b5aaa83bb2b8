// Subcommands of bench, each of one part of a recipe's work. defines: add_bench_layer, add_bench_step, add_bench_gemm,
// add_bench_generate, add_bench_prepare, add_bench_save
#pragma once

namespace CLI {
class App;
}

namespace launch {

struct Invocation;

void add_bench_layer(CLI::App& bench, Invocation& invocation);
void add_bench_step(CLI::App& bench, Invocation& invocation);
void add_bench_gemm(CLI::App& bench, Invocation& invocation);
void add_bench_generate(CLI::App& bench, Invocation& invocation);
void add_bench_prepare(CLI::App& bench, Invocation& invocation);
void add_bench_save(CLI::App& bench, Invocation& invocation);

}  // namespace launch
