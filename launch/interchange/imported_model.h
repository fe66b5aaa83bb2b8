// A Hugging Face folder as moetrain's parameters. defines: ImportedModel
#pragma once
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "launch/interchange/family.h"
#include "launch/interchange/tensors/block_formats.h"
#include "launch/interchange/tensors/tensor_folder.h"
#include "parallel/mesh/placement.h"

namespace launch::interchange {

class ImportedModel {
 public:
  /// UserError, naming what it is: an architecture or a key that is not known, a tensor that is missing, spare, of
  /// another shape or of a type that holds no weights; everything that TensorFolder refuses.
  explicit ImportedModel(const std::filesystem::path& folder, const std::vector<std::string>& ignored_keys = {});

  struct Parameter {
    std::string name;
    std::vector<int64_t> shape;  // global
    std::string dtype;           // as the folder has it; the widest of its tensors
    bool is_buffer = false;      // no weight: what a router's balance has learned
  };

  const Family& family() const { return *family_; }
  const ModelShape& shape() const { return shape_; }
  /// In the order of the family's rules.
  const std::vector<Parameter>& parameters() const { return parameters_; }
  /// Elements of the whole parameter, in its order, as `dtype` into `out`. One thread at a time.
  void read(const std::string& parameter, const parallel::ElementRange& elements, const std::string& dtype,
            void* out) const;
  /// The folder's config.json, as it came.
  const std::string& config_text() const { return config_text_; }

 private:
  /// What the folder calls a tensor of the family: base models leave "model." out.
  std::string stored(const std::string& target) const;
  /// Its shape and type as read() finds it, decoded where it is in blocks.
  TensorView described(const std::string& target) const;
  /// The tensor itself; of one in blocks until the next call.
  TensorView view(const std::string& target) const;
  void check_tensors() const;
  /// A tensor that no model of this shape has; nullopt: none.
  std::optional<std::string> spare() const;
  /// UserError where it is not what the other tensor of its parameter is.
  void check_again(const TensorRule& rule) const;

  std::filesystem::path folder_;
  std::string config_text_;
  const Family* family_ = nullptr;
  ModelShape shape_;
  TensorFolder tensors_;
  std::optional<BlockFormats> blocks_;
  mutable DecodedTensor decoded_;  // the one asked for last
  bool bare_ = false;              // names begin without "model."
  std::vector<TensorRule> rules_;
  RuleMap by_target_, by_source_;
  std::vector<Parameter> parameters_;
};

}  // namespace launch::interchange
