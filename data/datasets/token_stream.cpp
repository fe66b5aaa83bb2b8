#include "data/datasets/token_stream.h"

#include <algorithm>
#include <numeric>
#include <utility>

#include "data/batch.h"
#include "data/datasets/corpus_contents.h"
#include "parallel/base/fault.h"

namespace data {

TokenStream::TokenStream(std::shared_ptr<const CorpusContents> contents, std::vector<int64_t> documents)
    : contents_(std::move(contents)),
      documents_(std::move(documents)),
      starts_{0},
      group_bytes_(contents_->groups.size(), 0),
      group_targets_(contents_->groups.size(), 0) {
  starts_.reserve(documents_.size() + 1);
  for (const int64_t document : documents_) {
    const auto d = static_cast<size_t>(document);
    const int64_t tokens = contents_->offsets[d + 1] - contents_->offsets[d];
    starts_.push_back(starts_.back() + tokens);
    group_bytes_[static_cast<size_t>(contents_->group[d])] += contents_->bytes[d];
    group_targets_[static_cast<size_t>(contents_->group[d])] += tokens;
  }
}

int64_t TokenStream::bytes() const { return std::accumulate(group_bytes_.begin(), group_bytes_.end(), int64_t{0}); }

int64_t TokenStream::bytes_of_group(int64_t group) const { return group_bytes_.at(static_cast<size_t>(group)); }

int64_t TokenStream::targets_of_group(int64_t group) const { return group_targets_.at(static_cast<size_t>(group)); }

int64_t TokenStream::document_at(int64_t target) const {
  return std::upper_bound(starts_.begin(), starts_.end(), target) - starts_.begin() - 1;
}

int64_t TokenStream::token_before(int64_t target) const {
  if (target == 0 || target > size()) return contents_->tokenizer->end_of_text();
  const auto m = static_cast<size_t>(document_at(target - 1));
  return contents_->tokens.at(contents_->offsets[static_cast<size_t>(documents_[m])] + target - 1 - starts_[m]);
}

void TokenStream::ignore_unlearned(int64_t begin, int64_t count, int64_t* targets) const {
  if (contents_->learned == nullptr || count == 0) return;
  auto m = static_cast<size_t>(document_at(begin));
  for (int64_t i = 0; i < count; ++i) {
    while (begin + i >= starts_[m + 1]) ++m;
    const int64_t token = contents_->offsets[static_cast<size_t>(documents_[m])] + begin + i - starts_[m];
    if (!contents_->is_learned(token)) targets[i] = TokenBatch::kIgnored;
  }
}

void TokenStream::read(int64_t begin, int64_t count, int64_t* tokens, int64_t* targets, int32_t* groups) const {
  parallel::check_internal(begin >= 0 && count >= 0, "targets [", begin, ", +", count, ") of ", size());
  if (count == 0) return;
  const int64_t present = std::clamp<int64_t>(size() - begin, 0, count);
  auto m = static_cast<size_t>(present > 0 ? document_at(begin) : 0);
  for (int64_t done = 0; done < present; ++m) {
    const auto document = static_cast<size_t>(documents_[m]);
    const int64_t inside = begin + done - starts_[m];
    const int64_t run = std::min(present - done, starts_[m + 1] - starts_[m] - inside);
    contents_->tokens.copy(contents_->offsets[document] + inside, run, targets + done);
    std::fill_n(groups + done, run, contents_->group[document]);
    done += run;
  }
  tokens[0] = token_before(begin);
  std::copy_n(targets, std::max<int64_t>(present - 1, 0), tokens + 1);
  for (int64_t i = std::max<int64_t>(present, 1); i < count; ++i) tokens[i] = contents_->tokenizer->end_of_text();
  ignore_unlearned(begin, present, targets);
  std::fill_n(targets + present, count - present, TokenBatch::kIgnored);
  std::fill_n(groups + present, count - present, 0);
}

void TokenStream::will_read(int64_t begin, int64_t count) const {
  const int64_t present = std::clamp<int64_t>(size() - begin, 0, count);
  if (present == 0) return;
  // Documents lie in the file in their order, so a window is one stretch of it, with what others have in between.
  const auto place = [&](int64_t target) {
    const auto m = static_cast<size_t>(document_at(target));
    return contents_->offsets[static_cast<size_t>(documents_[m])] + target - starts_[m];
  };
  const int64_t first = place(begin), last = place(begin + present - 1);
  const TokenView& tokens = contents_->tokens;
  // What is far apart (a held-out document of some length lies between) is left to the read.
  if (last - first > 2 * count + 4096) return;
  contents_->file->will_read(tokens.begin + first * tokens.width,
                             static_cast<size_t>((last - first + 1) * tokens.width));
}

}  // namespace data
