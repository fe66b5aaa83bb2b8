#include "data/datasets/alignment.h"

#include <algorithm>

#include "parallel/base/fault.h"

namespace data {
namespace {

/// Walks the rows of an alignment and remembers which documents it has met.
class AlignmentCheck {
 public:
  AlignmentCheck(const std::string& path, const CorpusContents& contents)
      : path_(path), contents_(contents), seen_(static_cast<size_t>(contents.documents()), false) {}

  void check_row(int64_t row) {
    int64_t present = 0;
    int64_t first = -1;
    for (int64_t group = 0; group < static_cast<int64_t>(contents_.groups.size()); ++group) {
      const int64_t document = contents_.aligned_document(row, group);
      if (document == -1) continue;
      check_document(row, group, document);
      if (present++ == 0) first = document;
      const auto d = static_cast<size_t>(document);
      if (contents_.split[d] != contents_.split[static_cast<size_t>(first)]) {
        bad(row, "joins documents ", first, " and ", document, ", which are of different splits");
      }
    }
    if (present < 2) bad(row, "holds ", present, " documents; translations are at least 2");
  }

 private:
  template <class... Parts>
  [[noreturn]] void bad(int64_t row, const Parts&... parts) const {
    parallel::user_error(path_, ": row ", row, " of '", FormatNames::kAligned, "' ", parts...);
  }

  void check_document(int64_t row, int64_t group, int64_t document) {
    if (document < -1 || document >= contents_.documents()) {
      bad(row, "names document ", document, "; there are documents 0 to ", contents_.documents() - 1,
          ", and -1 for none");
    }
    const auto d = static_cast<size_t>(document);
    if (contents_.group[d] != group) {
      bad(row, "has document ", document, " of group ", contents_.group[d], " in column ", group);
    }
    if (seen_[d]) bad(row, "has document ", document, ", which an earlier row has");
    seen_[d] = true;
  }

  const std::string& path_;
  const CorpusContents& contents_;
  std::vector<bool> seen_;
};

}  // namespace

Split CorpusContents::split_of_row(int64_t row) const {
  const auto begin = alignment.begin() + row * static_cast<int64_t>(groups.size());
  const auto first = std::find_if(begin, begin + static_cast<int64_t>(groups.size()), [](int64_t d) { return d >= 0; });
  return static_cast<Split>(split[static_cast<size_t>(*first)]);
}

void read_alignment(const Hdf5File& file, CorpusContents& contents) {
  if (!file.has(FormatNames::kAlignment)) return;
  const auto groups = static_cast<int64_t>(contents.groups.size());
  if (groups > kMostAlignedGroups) {
    parallel::user_error(file.path().string(), ": has an alignment of ", groups, " groups; at most ",
                         kMostAlignedGroups, " are legal");
  }
  // Every row takes two documents at least, and none comes twice.
  contents.alignment = file.read<int64_t>(FormatNames::kAligned, contents.documents() / 2 * groups);
  if (static_cast<int64_t>(contents.alignment.size()) % groups != 0) {
    parallel::user_error(file.path().string(), ": '", FormatNames::kAligned, "' has ", contents.alignment.size(),
                         " elements, which are no rows of ", groups, " groups");
  }
  const std::string path = file.path().string();
  AlignmentCheck check(path, contents);
  for (int64_t row = 0; row < contents.aligned_rows(); ++row) check.check_row(row);
}

}  // namespace data
