#include "data/prepare/holdout.h"

#include <algorithm>
#include <iomanip>
#include <optional>
#include <sstream>

#include "data/prepare/text_shares.h"
#include "parallel/base/fault.h"
#include "parallel/base/nearest.h"
#include "parallel/base/random.h"

namespace data {
namespace {

constexpr int64_t kShortestPart = 32;  // bytes; a document is not cut into less, which would tell nothing

constexpr int64_t kLittleText = 1000;  // bytes; of less a share means nothing

bool is_visible(std::string_view text) { return text.find_first_not_of(" \t\r\n\v\f") != std::string_view::npos; }

/// The place nearest to `ideal` in [least, most] that follows `mark`; npos where there is none.
size_t nearest_after(std::string_view text, char mark, size_t ideal, size_t least, size_t most) {
  const size_t before = text.rfind(mark, ideal - 1);
  const size_t after = text.find(mark, ideal - 1);
  const bool use_before = before != std::string_view::npos && before + 1 >= least;
  const bool use_after = after != std::string_view::npos && after + 1 <= most;
  if (use_before && (!use_after || ideal - before <= after + 2 - ideal)) return before + 1;
  return use_after ? after + 1 : std::string_view::npos;
}

/// Where to cut so that about `wanted` bytes, from `least` to `most`, are behind: at a line, else at a word, else
/// between two characters. Nothing where the text is too short.
std::optional<size_t> place_to_cut(std::string_view text, double wanted, double least, double most) {
  const auto size = static_cast<double>(text.size());
  most = std::min(most, size - kShortestPart);
  least = std::max(least, double{kShortestPart});
  if (!(least <= most)) return {};
  const auto from_end = [&](double bytes) { return static_cast<size_t>(size - std::clamp(bytes, least, most)); };
  const size_t ideal = from_end(wanted);
  size_t place = nearest_after(text, '\n', ideal, from_end(most), from_end(least));
  if (place == std::string_view::npos) place = nearest_after(text, ' ', ideal, from_end(most), from_end(least));
  if (place == std::string_view::npos) {
    place = ideal;
    while ((static_cast<uint8_t>(text[place]) & 0xC0) == 0x80) --place;
  }
  if (!is_visible(text.substr(0, place)) || !is_visible(text.substr(place))) return {};
  return place;
}

/// Chooses the group's keys anew: in the order of their draws, those that fit into its share.
void fill_share(TextShares& shares, const std::string& name) {
  const TextShares::Group& group = shares.groups().at(name);
  for (const std::string& key : group.keys) shares.hold_out(key, false);
  for (const std::string& key : group.keys) {
    const auto heldout = static_cast<double>(group.heldout);
    if (heldout >= shares.wanted(group)) return;
    const auto bytes = static_cast<double>(shares.keys().at(key).bytes.at(name));
    if (heldout + bytes <= shares.most(group) && shares.may_leave(key)) shares.hold_out(key, true);
  }
}

/// Holds out the end of the largest document of the group that stands alone under its key; false where that is too
/// short.
bool cut_largest(TextShares& shares, const std::string& name, const std::vector<SourceDocument>& documents,
                 std::vector<Cut>& cuts) {
  const TextShares::Group& group = shares.groups().at(name);
  const TextShares::Key* largest = nullptr;
  for (const std::string& each : group.keys) {
    const TextShares::Key& key = shares.keys().at(each);
    if (key.heldout || key.documents.size() > 1) continue;
    if (largest == nullptr || key.total() > largest->total()) largest = &key;
  }
  if (largest == nullptr) return false;
  const size_t document = largest->documents.front();
  if (!documents[document].messages.empty()) return false;  // nobody answers half a question
  const std::string& text = documents[document].text;
  const auto heldout = static_cast<double>(group.heldout);
  const auto place =
      place_to_cut(text, shares.wanted(group) - heldout, shares.least(group) - heldout, shares.most(group) - heldout);
  if (!place) return false;
  cuts.push_back({document, *place});
  shares.cut(name, static_cast<int64_t>(text.size() - *place));
  return true;
}

/// Holds out the key with the least of the group's text; the first drawn of equal ones.
void hold_out_smallest(TextShares& shares, const std::string& name) {
  const std::string* smallest = nullptr;
  const auto bytes = [&](const std::string& key) { return shares.keys().at(key).bytes.at(name); };
  for (const std::string& key : shares.groups().at(name).keys) {
    if (shares.keys().at(key).heldout || !shares.may_leave(key)) continue;
    if (smallest == nullptr || bytes(key) < bytes(*smallest)) smallest = &key;
  }
  if (smallest != nullptr) shares.hold_out(*smallest, true);
}

/// Where the groups could spare too little, the share is one of all groups' text: keys that are all their group has go
/// too, as do those that leave their groups something to train on.
void fill_share_of_all(TextShares& shares) {
  TextShares::Group all = shares.all();
  for (const std::string& name : all.keys) {
    if (static_cast<double>(all.heldout) >= shares.least(all)) return;
    const TextShares::Key& key = shares.keys().at(name);
    const bool alone = std::all_of(key.bytes.begin(), key.bytes.end(),
                                   [&](const auto& part) { return shares.groups().at(part.first).keys.size() == 1; });
    const bool fits = static_cast<double>(all.heldout + key.total()) <= shares.most(all);
    if (key.heldout || !fits || !(alone || shares.may_leave(name))) continue;
    shares.hold_out(name, true);
    all.heldout += key.total();
  }
}

std::string percent(double share) {
  std::ostringstream text;
  text << std::setprecision(3) << 100 * share << " %";
  return text.str();
}

std::vector<std::string> explain(const TextShares& shares, const std::vector<SourceDocument>& documents,
                                 const std::vector<Cut>& cuts) {
  std::vector<std::string> notes, ends, without, only;
  for (const Cut& cut : cuts) ends.push_back(documents[cut.document].name);
  for (const auto& [name, group] : shares.groups()) {
    if (group.heldout == 0) without.push_back(name);
    if (group.heldout == group.total) only.push_back(name);
  }
  if (!ends.empty()) {
    notes.push_back(parallel::concat("The ", ends.size() > 1 ? "ends" : "end", " of ", parallel::quote_some(ends),
                                     ends.size() > 1 ? " are" : " is",
                                     " held out, because no whole document is about the share of its group's text."));
  }
  if (!without.empty()) {
    notes.push_back(parallel::concat("Nothing of group ", parallel::quote_some(without),
                                     " is held out: ", without.size() > 1 ? "they have" : "it has",
                                     " too few documents to take one away, and none that is long enough to cut."));
  }
  if (!only.empty()) {
    notes.push_back(parallel::concat("All text of group ", parallel::quote_some(only),
                                     " is held out, and none is trained on: ",
                                     "the groups have one document each, and the share is one of all groups' text."));
  }
  const TextShares::Group all = shares.all();
  if (all.heldout > 0 && all.total >= kLittleText && !shares.has_its_share(all)) {
    const auto total = static_cast<double>(all.total);
    notes.push_back(parallel::concat(percent(static_cast<double>(all.heldout) / total),
                                     " of the text is held out, not ", percent(shares.wanted(all) / total),
                                     ", because documents are held out whole."));
  }
  return notes;
}

}  // namespace

Holdout choose_heldout(const std::vector<SourceDocument>& documents, double fraction) {
  if (!(fraction >= 0 && fraction < 1)) parallel::user_error("held-out fraction is ", fraction, "; legal: 0 <= x < 1");
  Holdout holdout;
  holdout.split.assign(documents.size(), Split::kTrain);
  if (fraction == 0) return holdout;
  TextShares shares(documents, fraction);
  for (const auto& [name, key] : shares.keys()) shares.hold_out(name, key.draw < fraction);
  const std::vector<std::string> groups = shares.largest_first();
  // A small group's keys are little of a large group that shares them; what they move there nevertheless is seen next.
  for (int round = 0; round < 3; ++round) {
    for (const std::string& name : groups) {
      if (!shares.has_its_share(shares.groups().at(name))) fill_share(shares, name);
    }
  }
  for (const std::string& name : groups) {
    const TextShares::Group& group = shares.groups().at(name);
    if (static_cast<double>(group.heldout) >= shares.least(group)) continue;
    if (!cut_largest(shares, name, documents, holdout.cuts) && group.heldout == 0) hold_out_smallest(shares, name);
  }
  fill_share_of_all(shares);
  for (size_t i = 0; i < documents.size(); ++i) {
    if (shares.keys().at(documents[i].key).heldout) holdout.split[i] = Split::kHeldOut;
  }
  std::sort(holdout.cuts.begin(), holdout.cuts.end(),
            [](const Cut& a, const Cut& b) { return a.document < b.document; });
  holdout.notes = explain(shares, documents, holdout.cuts);
  return holdout;
}

void cut_documents(std::vector<SourceDocument>& documents, Holdout& holdout) {
  for (const Cut& cut : holdout.cuts) {
    SourceDocument& whole = documents[cut.document];
    SourceDocument end = whole;
    end.name += ", its end";
    end.text.erase(0, cut.at);
    end.identity = std::to_string(parallel::hash_name(end.text));
    whole.text.resize(cut.at);
    documents.push_back(std::move(end));
    holdout.split.push_back(Split::kHeldOut);
  }
}

}  // namespace data
