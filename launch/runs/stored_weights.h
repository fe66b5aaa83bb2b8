// Weights wherever they lie: a run, a checkpoint, a Hugging Face folder, all by moetrain's names.
// defines: StoredWeights, open_stored_weights, Comparison, compare, WeightsCheck, verify
#pragma once
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "launch/recipe/registry.h"
#include "parallel/mesh/placement.h"

namespace launch {

class StoredWeights {
 public:
  struct Tensor {
    std::string name;
    std::vector<int64_t> shape;  // global
    std::string dtype;           // "F64", "F32", "F16", "BF16"
    bool is_buffer = false;      // no weight: what a router's balance has learned
    int64_t elements() const;
  };

  virtual ~StoredWeights() = default;
  virtual const std::vector<Tensor>& tensors() const = 0;
  /// Elements of one of them, in its order.
  virtual void read(const std::string& name, const parallel::ElementRange& elements, double* out) const = 0;
  /// Whether the bytes carry checksums at all.
  virtual bool has_checksums() const = 0;
  /// UserError, naming it, for a tensor whose bytes are not those that were written; nothing where that cannot be told.
  virtual void check_bytes(const std::string& name) const = 0;
  /// 16 hexadecimal digits by which the same weights are known again: of names, shapes, types and checksums. Empty
  /// where there are no checksums.
  virtual std::string fingerprint() const { return {}; }
};

/// `path`: a run folder (its newest checkpoint), a checkpoint file, or a Hugging Face folder. Mapped: what is not read
/// costs no memory. UserError for anything else, and for what it is refused for.
std::unique_ptr<StoredWeights> open_stored_weights(const std::filesystem::path& path);

/// A tensor that is not the same in two.
struct Comparison {
  std::string name;
  std::optional<StoredWeights::Tensor> first, second;  // nullopt: it has none of that name
  double largest_difference = 0;                       // of elements; infinite where a NaN is
  int64_t different = 0;                               // elements; of tensors of one shape
};

/// Those, in the order of the first one's tensors; a tensor of one shape and equal numbers is the same whatever its
/// type.
std::vector<Comparison> compare(const StoredWeights& first, const StoredWeights& second);

struct WeightsCheck {
  int64_t tensors = 0, elements = 0;
};

/// Reads all of it. UserError, naming the tensor: a wrong checksum, a number that is not finite.
WeightsCheck verify(const StoredWeights& weights);

}  // namespace launch
