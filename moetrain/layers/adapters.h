// defines: Adapter, Adapters: which linear layers of a model have an adapter, and how its weights are called
#pragma once
#include <string>
#include <vector>

#include "moetrain/config/lora_config.h"
#include "parallel/base/name_patterns.h"

namespace moetrain {

/// Full names of parameters. Of a layer of its own: weight [out, in], a [rank, in], b [out, rank], and the adapter adds
/// scale b a to the weight; of experts, whose weights map rows: weight [E, in, out], a [E, in, rank], b [E, rank, out],
/// scale a b.
struct Adapter {
  std::string layer;  // as patterns name it: the weight's name, without ".weight"
  std::string weight, a, b;
  bool of_experts = false;
};

/// Filled while a model is built: every linear layer asks.
class Adapters {
 public:
  /// UserError for patterns that are none.
  explicit Adapters(const LoraConfig& config = {})
      : config_(config),
        patterns_(parallel::name_patterns("lora.layers", config.layers, parallel::PatternValues::kNone)) {}

  const LoraConfig& config() const { return config_; }
  const std::vector<Adapter>& all() const { return all_; }

  /// Whether the layer gets it.
  bool add(const Adapter& adapter) {
    layers_.push_back(adapter.layer);
    if (parallel::first_fit(patterns_, adapter.layer) == nullptr) return false;
    all_.push_back(adapter);
    return true;
  }

  bool has_parameter(const std::string& name) const {
    for (const Adapter& each : all_) {
      if (each.a == name || each.b == name) return true;
    }
    return false;
  }

  /// When all have asked: UserError for a pattern of lora.layers that fits none of them.
  void check_all_found() const { parallel::check_each_fits("lora.layers", patterns_, layers_, "linear layers"); }

 private:
  LoraConfig config_;
  std::vector<parallel::NamePattern> patterns_;
  std::vector<std::string> layers_;  // all linear ones
  std::vector<Adapter> all_;
};

}  // namespace moetrain
