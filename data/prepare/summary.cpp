#include <iomanip>
#include <sstream>

#include "data/prepare/prepare.h"
#include "parallel/base/printable.h"

namespace data {
namespace {

double ratio(int64_t a, int64_t b) { return b > 0 ? static_cast<double>(a) / static_cast<double>(b) : 0.0; }

void print_row(std::ostream& out, const std::string& group, const std::string& split, const SplitSummary& summary) {
  out << "  " << std::left << std::setw(12) << parallel::printable(group) << std::setw(10) << split << std::right
      << std::setw(10) << summary.documents << std::setw(14) << summary.bytes << std::setw(14) << summary.tokens
      << std::fixed << std::setprecision(2) << std::setw(13) << ratio(summary.bytes, summary.tokens) << "\n";
}

void add(SplitSummary& total, const SplitSummary& part) {
  total.documents += part.documents;
  total.tokens += part.tokens;
  total.bytes += part.bytes;
}

void print_left_out(std::ostream& out, const PrepareSummary& summary) {
  const auto line = [&](int64_t number, const char* what) {
    if (number > 0) out << "  left out: " << number << " " << what << "\n";
  };
  line(summary.duplicates, "documents that repeat another one");
  line(summary.empty, "documents without text");
  line(summary.unanswered, "conversations without an answer");
  line(summary.symbolic_links, "manual pages that are symbolic links");
  line(summary.stubs, "manual pages that only point to another one");
  line(summary.unreadable, "manual pages that could not be rendered");
  line(summary.other_files, "files in folders of manual pages that are none (man/[LANGUAGE/]manS/NAME.S[.gz])");
  line(summary.boilerplate_lines, "lines that many manual pages share");
  if (summary.near_copies > 0) {
    out << "  kept together: " << summary.near_copies
        << " documents that differ from another one in white space, punctuation or capitals only\n";
  }
}

void print_sentences(std::ostream& out, const std::string& language, Split split, const SplitSummary& summary) {
  if (summary.documents == 0) return;
  const int64_t tokens = summary.tokens - summary.documents;  // without end_of_text
  out << "  " << std::left << std::setw(12) << parallel::printable(language) << std::setw(10) << to_string(split)
      << std::right << std::setw(10) << summary.documents << std::setw(14) << summary.bytes << std::setw(14) << tokens
      << std::fixed << std::setprecision(2) << std::setw(13) << ratio(summary.bytes, tokens) << std::setprecision(1)
      << std::setw(17) << ratio(tokens, summary.documents) << "\n";
}

std::string parallel_text(const PrepareSummary& summary) {
  const AlignedSummary& aligned = *summary.aligned;
  std::ostringstream out;
  out << "  rows: " << aligned.train_rows << " train, " << aligned.heldout_rows << " held out, " << aligned.test_rows
      << " test\n  language    split     sentences         bytes        tokens  bytes/token  tokens/sentence\n";
  for (const GroupSummary& group : summary.groups) {
    print_sentences(out, group.name, Split::kTrain, group.train);
    print_sentences(out, group.name, Split::kHeldOut, group.heldout);
    print_sentences(out, group.name, Split::kTest, group.test);
  }
  const auto line = [&](int64_t number, const char* what) {
    if (number > 0) out << "  " << what << ": " << number << "\n";
  };
  line(aligned.empty_lines, "left out of training, empty lines");
  line(aligned.short_rows, "left out of training, rows with fewer than two sentences");
  line(aligned.empty_kept, "kept in held out and test, empty lines");
  return out.str();
}

std::string plain_text(const PrepareSummary& summary) {
  std::ostringstream out;
  out << "  group       split      documents         bytes        tokens  bytes/token\n";
  GroupSummary total;
  for (const GroupSummary& group : summary.groups) {
    print_row(out, group.name, to_string(Split::kTrain), group.train);
    print_row(out, group.name, to_string(Split::kHeldOut), group.heldout);
    add(total.train, group.train);
    add(total.heldout, group.heldout);
  }
  print_row(out, "all", to_string(Split::kTrain), total.train);
  print_row(out, "all", to_string(Split::kHeldOut), total.heldout);
  print_left_out(out, summary);
  return out.str();
}

}  // namespace

std::string to_text(const PrepareSummary& summary) {
  std::ostringstream out;
  out << parallel::printable(summary.output) << ": tokenizer " << summary.tokenizer << ", vocabulary "
      << summary.vocabulary_size << ", hash " << summary.tokenizer_hash << "\n";
  out << (summary.aligned ? parallel_text(summary) : plain_text(summary));
  for (const std::string& note : summary.notes) out << "  note: " << parallel::printable(note) << "\n";
  return out.str();
}

}  // namespace data
