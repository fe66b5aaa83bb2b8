#include "launch/runs/stored_weights.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>

#include "data/datasets/mapped_file.h"
#include "data/hdf5/checksum.h"
#include "launch/checkpoint/checkpoint.h"
#include "launch/checkpoint/checksum.h"
#include "launch/interchange/imported_model.h"
#include "launch/interchange/tensors/safetensors.h"
#include "launch/interchange/tensors/tensor_copy.h"
#include "launch/runs/run_folder.h"
#include "parallel/base/fault.h"

namespace launch {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kPiece = 1 << 20;  // elements that are looked at together

class CheckpointWeights : public StoredWeights {
 public:
  explicit CheckpointWeights(const fs::path& path) : path_(path), file_(path) {
    for (const std::string group : {"parameters", "buffers"}) {
      for (StoredTensor& stored : stored_tensors(path, group)) {
        const std::string name = stored.path.substr(group.size() + 1);
        tensors_.push_back({name, stored.shape, dtype_name(stored.type), group == "buffers"});
        stored_.emplace(name, std::move(stored));
      }
    }
  }
  const std::vector<Tensor>& tensors() const override { return tensors_; }

  void read(const std::string& name, const parallel::ElementRange& elements, double* out) const override {
    const StoredTensor& stored = stored_.at(name);
    interchange::TensorRules rules;
    rules.copy(name, name, stored.shape);
    const interchange::TensorView view{dtype_name(stored.type), stored.shape, file_.data() + stored.address};
    interchange::read_block(rules.take().front(), view, elements, "F64", out);
  }

  bool has_checksums() const override { return true; }
  void check_bytes(const std::string& name) const override {
    const StoredTensor& stored = stored_.at(name);
    const auto bytes = static_cast<int64_t>(c10::elementSize(stored.type));
    if (partial_checksum(file_.data() + stored.address, bytes, stored.elements(), 0) == stored.checksum) return;
    parallel::user_error(path_.string(), ": the checksum of '", stored.path, "' is wrong: the file is damaged");
  }
  std::string fingerprint() const override {
    std::string all;
    for (const auto& [name, stored] : stored_) {
      all += parallel::concat(name, " ", interchange::shape_text(stored.shape), " ", dtype_name(stored.type), " ",
                              stored.checksum, "\n");
    }
    return data::checksum(all.data(), all.size());
  }

 private:
  fs::path path_;
  data::MappedFile file_;
  std::vector<Tensor> tensors_;
  std::map<std::string, StoredTensor> stored_;
};

class FolderWeights : public StoredWeights {
 public:
  explicit FolderWeights(const fs::path& folder) : model_(folder) {
    for (const auto& parameter : model_.parameters()) {
      tensors_.push_back({parameter.name, parameter.shape, parameter.dtype, parameter.is_buffer});
    }
  }
  const std::vector<Tensor>& tensors() const override { return tensors_; }
  void read(const std::string& name, const parallel::ElementRange& elements, double* out) const override {
    model_.read(name, elements, "F64", out);
  }
  bool has_checksums() const override { return false; }
  void check_bytes(const std::string&) const override {}

 private:
  interchange::ImportedModel model_;
  std::vector<Tensor> tensors_;
};

const StoredWeights::Tensor* find(const StoredWeights& weights, const std::string& name) {
  const auto found = std::ranges::find(weights.tensors(), name, &StoredWeights::Tensor::name);
  return found == weights.tensors().end() ? nullptr : &*found;
}

/// Calls look(begin, count) for consecutive pieces of so many elements.
void in_pieces(int64_t elements, const std::function<void(const parallel::ElementRange& piece)>& look) {
  for (int64_t begin = 0; begin < elements; begin += kPiece) look({begin, std::min(kPiece, elements - begin)});
}

/// The numbers of two tensors of one name and shape.
void compare_numbers(const StoredWeights& first, const StoredWeights& second, Comparison& of) {
  std::vector<double> a(kPiece), b(kPiece);
  in_pieces(of.first->elements(), [&](const parallel::ElementRange& piece) {
    first.read(of.name, piece, a.data());
    second.read(of.name, piece, b.data());
    for (size_t i = 0; i < static_cast<size_t>(piece.count); ++i) {
      if (a[i] == b[i] || (std::isnan(a[i]) && std::isnan(b[i]))) continue;
      ++of.different;
      const double difference = std::abs(a[i] - b[i]);
      of.largest_difference = std::max(of.largest_difference,
                                       std::isnan(difference) ? std::numeric_limits<double>::infinity() : difference);
    }
  });
}

}  // namespace

int64_t StoredWeights::Tensor::elements() const { return interchange::element_count(shape); }

std::unique_ptr<StoredWeights> open_stored_weights(const fs::path& path) {
  std::error_code ignored;
  if (fs::is_regular_file(path, ignored)) {
    read_checkpoint_info(path);  // that it is one
    return std::make_unique<CheckpointWeights>(path);
  }
  if (fs::exists(RunFolder{path}.recipe(), ignored)) {
    return open_stored_weights(chosen_checkpoint(path));
  }
  if (fs::exists(path / "config.json", ignored)) return std::make_unique<FolderWeights>(path);
  parallel::user_error(path.string(),
                       " holds no weights; legal: a run folder (recipe.toml), a checkpoint in one, or a ",
                       "Hugging Face folder (config.json)");
}

std::vector<Comparison> compare(const StoredWeights& first, const StoredWeights& second) {
  std::vector<Comparison> all;
  for (const StoredWeights::Tensor& here : first.tensors()) {
    Comparison of{.name = here.name, .first = here, .second = {}};
    if (const StoredWeights::Tensor* there = find(second, here.name)) of.second = *there;
    const bool alike = of.second && of.second->shape == here.shape;
    if (alike) compare_numbers(first, second, of);
    if (!alike || of.different > 0) all.push_back(std::move(of));
  }
  for (const StoredWeights::Tensor& there : second.tensors()) {
    if (find(first, there.name) == nullptr) all.push_back({.name = there.name, .first = {}, .second = there});
  }
  return all;
}

WeightsCheck verify(const StoredWeights& weights) {
  WeightsCheck check;
  std::vector<double> numbers(kPiece);
  for (const StoredWeights::Tensor& tensor : weights.tensors()) {
    weights.check_bytes(tensor.name);
    in_pieces(tensor.elements(), [&](const parallel::ElementRange& piece) {
      weights.read(tensor.name, piece, numbers.data());
      for (int64_t i = 0; i < piece.count; ++i) {
        if (std::isfinite(numbers[static_cast<size_t>(i)])) continue;
        parallel::user_error("'", tensor.name, "' holds ", numbers[static_cast<size_t>(i)], " at element ",
                             piece.begin + i, ": no model computes with that");
      }
    });
    ++check.tensors;
    check.elements += tensor.elements();
  }
  return check;
}

}  // namespace launch
