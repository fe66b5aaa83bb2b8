#include "launch/records/describe_records.h"

#include "launch/records/records.h"

namespace launch {
namespace {

/// What is inside of a field; nothing for a number or a text.
struct Inside {
  template <class Record>
  static void append(std::string& text, const std::string& prefix, Record& record) {
    auto line = [&](const char* key, auto& value, const char* words) {
      const std::string name = prefix + key;
      text += "  " + name + std::string(name.size() < kWidth ? kWidth - name.size() : 1, ' ') + words + "\n";
      of(text, name, value);
    };
    visit(record, line);
  }

 private:
  static constexpr size_t kWidth = 28;  // columns of a name

  static void of(std::string&, const std::string&, int64_t&) {}
  static void of(std::string&, const std::string&, double&) {}
  static void of(std::string&, const std::string&, std::string&) {}
  static void of(std::string&, const std::string&, std::array<std::string, 2>&) {}
  template <class Value>
  static void of(std::string& text, const std::string& name, std::optional<Value>&) {
    Value value{};
    of(text, name, value);
  }
  template <class Value>
  static void of(std::string& text, const std::string& name, std::vector<Value>&) {
    Value value{};
    of(text, name + "[]", value);
  }
  template <class Value>
  static void of(std::string& text, const std::string& name, Named<Value>&) {
    Value value{};
    of(text, name + ".NAME", value);
  }
  template <class Record>
  static void of(std::string& text, const std::string& name, Record& record) {
    append(text, name + ".", record);
  }
};

template <class Record>
void append_record(std::string& text, const std::string& title) {
  Record record;
  text += "\n" + title + "\n";
  Inside::append(text, "", record);
}

template <class Record>
void append_event(std::string& text) {
  append_record<Record>(text, std::string("event \"") + Record::kEvent + "\"");
}

}  // namespace

std::string describe_records() {
  std::string text = "metrics.jsonl has an object a line; a number that is not finite is null.\n";
  append_event<StartRecord>(text);
  append_event<ResumeRecord>(text);
  append_event<StageRecord>(text);
  append_event<StepRecord>(text);
  append_event<TraceRecord>(text);
  append_event<EvaluationRecord>(text);
  append_event<CheckpointRecord>(text);
  append_event<EndRecord>(text);
  append_record<EvaluationFile>(text, "evaluation.json");
  return text;
}

}  // namespace launch
