// How a model's experts were used, by group of text: what pruning, compression and analysis go by.
// defines: LayerPart, LayerUse, ExpertUse, layer_key, write_use, is_use_file, read_use, check_use_of, layer_use,
// chosen_groups, over_groups, print_use
#pragma once
#include <ATen/core/Tensor.h>

#include <filesystem>
#include <string>
#include <vector>

#include "launch/runs/stored_weights.h"

namespace launch {

// G groups of text; of a layer E experts of all kinds, R of them routed, K choices of a row, D width of the rows that
// travel, F hidden units of the widest routed expert. Of a dense feed-forward E = R = K = 1.

/// What of a block it is: its routed experts, its dense feed-forward, the shared expert beside routed ones, or the
/// experts in its attention's place.
enum class LayerPart { kExperts, kDense, kShared, kModules };
std::string to_string(LayerPart part);  // "experts"

/// Of one layer. Sums over rows (tokens, or sequences where those are routed) of the held-out text, each counted once:
/// counts int64 and exact, sums float64.
struct LayerUse {
  int64_t block = 0;  // number
  LayerPart part = LayerPart::kExperts;
  std::vector<int64_t> units = {};      // [R], hidden units of each; 0: of a kind that has none to show
  at::Tensor seen_G = {};               // rows that the layer saw
  at::Tensor chosen_GE = {};            // those that chose the expert, before any drop
  at::Tensor gates_GE = {};             // sum of their combine weights
  at::Tensor together_GEE = {};         // rows that chose both; the diagonal is chosen_GE
  at::Tensor computing_GN = {};         // N = K + 1: rows by how many of their choices may give more than 0
  at::Tensor rows_GR = {};              // rows that the expert computed, after drops: of so many are the sums below
  at::Tensor input_square_GRD = {};     // sum of x_d^2; D = 0 where what travels is no token (sequences, slots)
  at::Tensor hidden_square_GRF = {};    // sum of a_f^2,
  at::Tensor hidden_absolute_GRF = {};  // and of |a_f|, a being what the expert's last matrix multiplies

  int64_t experts() const { return chosen_GE.size(1); }
  int64_t routed() const { return rows_GR.size(1); }
};

struct ExpertUse {
  std::string run = {};          // the folder that was evaluated
  int64_t update = 0;            // of its checkpoint,
  std::string fingerprint = {};  // and of its weights (StoredWeights)
  std::string recipe_hash = {};
  std::vector<std::string> groups = {};  // names
  std::vector<LayerUse> layers = {};     // by block
};

/// "block_3_experts": a layer's name in the file.
std::string layer_key(const LayerUse& layer);

/// Writes the file whole or not at all; one that is there is replaced. UserError where it cannot.
void write_use(const std::filesystem::path& path, const ExpertUse& use);

/// Whether the HDF5 file says that it is one. UserError where it is no HDF5 file.
bool is_use_file(const std::filesystem::path& path);

/// UserError, naming file and place: no such file, a file of another kind or version, damage, numbers that no recording
/// gives. Nothing is allocated before its size was checked.
ExpertUse read_use(const std::filesystem::path& path);

/// UserError where it was not recorded with these weights, the ones at `place`.
void check_use_of(const ExpertUse& use, const std::filesystem::path& path, const StoredWeights& weights,
                  const std::string& place);

/// UserError, naming file and block, where the use has none of this part of this block, or one of another number of
/// routed experts.
const LayerUse& layer_use(const ExpertUse& use, const std::filesystem::path& path, int64_t block, LayerPart part,
                          int64_t routed);

/// Which of the groups a list such as "en,de" names; all where it is empty. UserError for a name that is none.
std::vector<int64_t> chosen_groups(const ExpertUse& use, const std::string& names);

/// [G, ...] -> [...] summed over those groups, as float64.
at::Tensor over_groups(const at::Tensor& by_group, const std::vector<int64_t>& groups);

/// Prints a table of it.
void print_use(const ExpertUse& use);

}  // namespace launch
