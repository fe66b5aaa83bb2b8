// A machine as lines: what planning knows of hosts, links and processors. TOML, read as strictly as a recipe.
// defines: Machine, LinkLines, MachineLine, read_machine, parse_machine, to_text
#pragma once
#include <cstdint>
#include <filesystem>
#include <string>

#include "launch/recipe/precision.h"
#include "parallel/base/enum.h"
#include "parallel/base/field.h"
#include "parallel/links/line_fit.h"

namespace launch {

/// alpha [s] + beta [s/byte] * size. Below 0: the file does not give it.
struct MachineLine {
  double alpha = -1, beta = -1;
  bool given() const { return alpha >= 0 && beta >= 0; }
};

/// Of a group that lies inside a host, or of one with ranks of several hosts. Size: the larger of what a rank hands in
/// and what it gets, so of an all-gather the whole that it gets.
struct LinkLines {
  MachineLine all_to_all, all_gather, reduce_scatter, all_reduce;
};

struct Machine {
  std::string name;
  double memory_gib = 0;  // of a rank
  int64_t ranks_per_host = 0;
  MachineLine sweep;                   // over bytes: reading and writing tensors outside of multiplications
  MachineLine float32, bf16, float64;  // over multiply-adds
  LinkLines inside, between;
  double compute_contention = 0, link_contention = 0;  // parallel::Contention: of ranks on CPUs
  std::string place;                                   // the file, for messages

  double memory_bytes() const { return memory_gib * 1024 * 1024 * 1024; }
  /// UserError naming the line where the file does not give it.
  parallel::Line multiply(parallel::Enum<Precision> precision) const;
};

/// The line as costs have it. UserError naming place, line and `use` where the file does not give it.
parallel::Line line_of(const Machine& machine, const MachineLine& line, const std::string& name,
                       const std::string& use);

/// UserError with file and line: an unknown section or key, a negative number, a line of which half is given, a machine
/// without a name, memory, ranks or a multiplication.
Machine read_machine(const std::filesystem::path& file);
Machine parse_machine(const std::string& text, const std::string& name);
/// As a machine file: what parse_machine reads as the same machine.
std::string to_text(const Machine& machine);

}  // namespace launch
