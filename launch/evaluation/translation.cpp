#include "launch/evaluation/translation.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <limits>

#include "data/batching/pair_sampler.h"
#include "data/scoring/bleu.h"
#include "data/scoring/chrf.h"
#include "data/scoring/unicode_text.h"
#include "data/sources/parallel_source.h"
#include "data/tokenizers/control_pieces.h"
#include "parallel/comm/agreement.h"
#include "parallel/comm/local_communicator.h"

namespace launch {
namespace {

constexpr int64_t kNone = -1;  // fills up a row of tokens

moetrain::TokenSide sources_of(const data::PairBatch& pairs, const std::vector<int64_t>& task_of_direction,
                               int64_t first_sequence, at::Device device) {
  const at::Tensor direction_S = at::tensor(pairs.directions, at::kInt).to(at::kLong);
  const auto tokens = static_cast<int64_t>(pairs.source_tokens.size());
  return {.ids_T = at::tensor(pairs.source_tokens, at::kLong).to(device),
          .sequences = {pairs.source_lengths, device},
          .global_tokens = tokens,
          .global_sequences = pairs.pairs(),
          .first_sequence = first_sequence,
          .task_S = task_of_direction.empty() ? at::Tensor()
                                              : at::tensor(task_of_direction, at::kLong).index_select(0, direction_S)};
}

bool is_blank(std::string_view text) { return std::ranges::all_of(data::decode_utf8(text), data::is_whitespace); }

/// Sentences of like length side by side, so that little is padded: pair numbers in that order, without blank sources.
std::vector<int64_t> by_length(const data::ParallelText& text) {
  std::vector<int64_t> order;
  for (int64_t pair = 0; pair < text.size(); ++pair) {
    if (!is_blank(text.source_text(pair))) order.push_back(pair);
  }
  std::stable_sort(order.begin(), order.end(),
                   [&](int64_t a, int64_t b) { return text.pair(a).source_length > text.pair(b).source_length; });
  return order;
}

/// A hypothesis of each place, whichever rank made it, on all ranks; empty where another rank did.
std::vector<std::vector<int64_t>> gather(const std::vector<std::vector<int64_t>>& own,
                                         parallel::Communicator& control) {
  size_t longest = 1;
  for (const auto& tokens : own) longest = std::max(longest, tokens.size());
  at::Tensor most = at::full({1}, static_cast<int64_t>(longest), at::kLong);
  control.all_reduce(most, parallel::ReduceOp::kMax).wait();
  const auto all = static_cast<int64_t>(own.size());
  at::Tensor rows = at::full({all, most.item<int64_t>()}, kNone, at::kLong);
  for (int64_t i = 0; i < all; ++i) {
    const std::vector<int64_t>& tokens = own[static_cast<size_t>(i)];
    std::copy(tokens.begin(), tokens.end(), rows[i].mutable_data_ptr<int64_t>());
  }
  control.all_reduce(rows, parallel::ReduceOp::kMax).wait();
  std::vector<std::vector<int64_t>> gathered;
  for (int64_t i = 0; i < all; ++i) {
    const int64_t* row = rows[i].const_data_ptr<int64_t>();
    gathered.emplace_back(row, std::find(row, row + rows.size(1), kNone));
  }
  return gathered;
}

std::string text_of(const std::vector<int64_t>& tokens, const data::Tokenizer& tokenizer) {
  return tokenizer.decode({tokens.begin(), tokens.end()});
}

}  // namespace

std::vector<std::string> translate(moetrain::EncoderDecoder& model, const SentencesToTranslate& sentences,
                                   const moetrain::BeamOptions& options, const Groups& groups) {
  const auto& [text, batch, task_of_direction] = sentences;
  const std::vector<int64_t> order = by_length(text);
  const at::Device device = model.parameters().front().device();
  parallel::LocalCommunicator alone;
  const auto all_pairs = static_cast<int64_t>(order.size());
  std::vector<std::vector<int64_t>> own(order.size());
  // Whole batches are dealt out, the longest sentences first: what stands side by side is the recipe's choice and never
  // the layout's, so that neither rounding nor a draw for each token differs between layouts.
  const int64_t stride = batch * groups.shard.count;
  parallel::all_ranks(*groups.control, [&] {
    for (int64_t begin = batch * groups.shard.index; begin < all_pairs; begin += stride) {
      const int64_t end = std::min(begin + batch, all_pairs);
      const data::PairBatch pairs = data::read_pairs(text, {order.begin() + begin, order.begin() + end});
      const moetrain::TokenSide sources = sources_of(pairs, task_of_direction, begin, device);
      auto found = moetrain::beam_search(model, sources, options, {.group = alone});
      std::move(found.begin(), found.end(), own.begin() + begin);
    }
  });
  std::vector<std::string> translations(static_cast<size_t>(text.size()));
  if (order.empty()) return translations;
  const auto all = gather(own, *groups.control);
  for (size_t i = 0; i < order.size(); ++i) {
    translations[static_cast<size_t>(order[i])] = text_of(all[i], text.corpus().tokenizer());
  }
  return translations;
}

std::vector<int64_t> source_tokens(const data::Tokenizer& tokenizer, std::string_view source,
                                   const std::string& target_language) {
  std::vector<int64_t> tokens{tokenizer.control(data::language_tag(target_language))};
  for (const int32_t token : tokenizer.encode(data::strip_line(source))) tokens.push_back(token);
  tokens.push_back(tokenizer.end_of_text());
  return tokens;
}

std::string translate_text(moetrain::EncoderDecoder& model, const data::Tokenizer& tokenizer,
                           const TextToTranslate& text, const moetrain::BeamOptions& options) {
  if (is_blank(text.source)) return {};
  parallel::LocalCommunicator alone;
  const std::vector<int64_t> tokens = source_tokens(tokenizer, text.source, text.target_language);
  const auto length = static_cast<int64_t>(tokens.size());
  moetrain::TokenSide side = moetrain::TokenSide::whole(at::tensor(tokens, at::kLong).view({1, length}));
  if (text.task >= 0) side.task_S = at::full({1}, text.task, at::kLong);
  return text_of(moetrain::beam_search(model, side, options, {.group = alone}).front(), tokenizer);
}

std::string one_line(std::string text) {
  std::ranges::replace_if(
      text, [](char c) { return c == '\n' || c == '\r'; }, ' ');
  return text;
}

std::vector<TranslationScore> score_translations(const data::ParallelText& text,
                                                 const std::vector<std::string>& hypotheses) {
  std::vector<TranslationScore> scores;
  for (size_t d = 0; d < text.directions().size(); ++d) {
    const data::IndexRange pairs = text.pairs_of(static_cast<int32_t>(d));
    std::vector<std::string> references;
    for (int64_t pair = pairs.begin; pair < pairs.end; ++pair) references.push_back(text.target_text(pair));
    const bool nothing = std::ranges::all_of(references, is_blank);
    const auto score = [&](double number) { return nothing ? std::numeric_limits<double>::quiet_NaN() : number; };
    const std::vector<std::string> ours(hypotheses.begin() + pairs.begin, hypotheses.begin() + pairs.end);
    scores.push_back({.direction = text.directions()[d].name,
                      .sentences = pairs.end - pairs.begin,
                      .bleu = score(data::corpus_bleu(ours, references, {}).score),
                      .bleu_lowercase = score(data::corpus_bleu(ours, references, {.lowercase = true}).score),
                      .chrf = score(data::corpus_chrf(ours, references))});
  }
  return scores;
}

Named<TranslationRecord> records_of(const std::vector<TranslationScore>& scores) {
  Named<TranslationRecord> records;
  for (const TranslationScore& score : scores) {
    records.push_back({score.direction,
                       {.sentences = static_cast<double>(score.sentences),
                        .bleu = score.bleu,
                        .bleu_lowercase = score.bleu_lowercase,
                        .chrf = score.chrf}});
  }
  return records;
}

}  // namespace launch
