// defines: TensorFolder: the tensors of a Hugging Face folder, in one safetensors file or in several with an index
#pragma once
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "launch/interchange/tensors/safetensors.h"

namespace launch::interchange {

/// Mapped, never copied: what nobody reads costs no memory.
class TensorFolder {
 public:
  /// model.safetensors, or the files that model.safetensors.index.json names. UserError: neither; an index that names a
  /// file outside of the folder or one that is not there, a tensor that is not in its file; a file with a tensor that
  /// the index has elsewhere, or not at all.
  explicit TensorFolder(const std::filesystem::path& folder);

  std::vector<std::string> names() const;
  bool holds(const std::string& name) const { return file_of_.contains(name); }
  TensorView view(const std::string& name) const;  // UserError for a name that is not there

 private:
  std::filesystem::path folder_;
  std::map<std::string, std::unique_ptr<SafetensorsFile>> files_;  // by name
  std::map<std::string, const SafetensorsFile*> file_of_;          // by tensor
};

}  // namespace launch::interchange
