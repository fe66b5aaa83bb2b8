// defines: LoraConfig, visit
#pragma once
#include <cstdint>
#include <string>

#include "parallel/base/field.h"

namespace moetrain {

/// LoRA (Hu et al. 2022, "LoRA: Low-Rank Adaptation of Large Language Models"): W x + alpha / rank B A x, of which A
/// and B alone are trained. A is drawn as peft draws it, uniform within 1 / sqrt(inputs) of 0; B is zeros at first.
/// Of x in B A x, `dropout` of the numbers are 0 in training.
struct LoraConfig {
  std::string layers;
  int64_t rank = 8;
  double alpha = 16;
  double dropout = 0;

  bool operator==(const LoraConfig&) const = default;
  bool on() const { return !layers.empty(); }
  double scale() const { return alpha / static_cast<double>(rank); }
};

template <class Visitor>
void visit(LoraConfig& config, Visitor& field) {
  using namespace parallel;
  field("layers", config.layers, anything(),
        "linear layers that get an adapter, by patterns: \"*.attention.query, *.attention.value, *.moe.experts.*\"; "
        "all else is frozen; empty: no adapters");
  field("rank", config.rank, between(1, 1 << 16), "columns of an adapter's A x");
  field("dropout", config.dropout, half_open(0, 1),
        "in training, of what goes into an adapter; not of experts'; 0: none");
  field("alpha", config.alpha, above(0), "an adapter counts alpha / rank times");
}

}  // namespace moetrain
