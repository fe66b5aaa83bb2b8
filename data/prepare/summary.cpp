#include <iomanip>
#include <sstream>

#include "data/prepare/prepare.h"

namespace data {
namespace {

void print_row(std::ostream& out, const std::string& group, const std::string& split, const SplitSummary& summary) {
  out << "  " << std::left << std::setw(12) << group << std::setw(10) << split << std::right << std::setw(10)
      << summary.documents << std::setw(14) << summary.bytes << std::setw(14) << summary.tokens << std::fixed
      << std::setprecision(2) << std::setw(13)
      << (summary.tokens > 0 ? static_cast<double>(summary.bytes) / static_cast<double>(summary.tokens) : 0.0) << "\n";
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
  line(summary.symbolic_links, "manual pages that are symbolic links");
  line(summary.stubs, "manual pages that only point to another one");
  line(summary.unreadable, "manual pages that could not be rendered");
  line(summary.boilerplate_lines, "lines that many manual pages share");
}

}  // namespace

std::string to_text(const PrepareSummary& summary) {
  std::ostringstream out;
  out << summary.output << ": tokenizer " << summary.tokenizer << ", vocabulary " << summary.vocabulary_size
      << ", hash " << summary.tokenizer_hash << "\n";
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
  for (const std::string& note : summary.notes) out << "  note: " << note << "\n";
  return out.str();
}

}  // namespace data
