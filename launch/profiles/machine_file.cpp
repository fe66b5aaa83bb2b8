#include "launch/profiles/machine_file.h"

#include <algorithm>
#include <deque>
#include <string>
#include <vector>

#include "launch/recipe/fields.h"
#include "launch/recipe/reader.h"
#include "launch/recipe/writer.h"
#include "launch/toml/toml_text.h"
#include "parallel/base/fault.h"

namespace launch {
namespace {

/// The fields of one machine file.
class MachineFields {
 public:
  explicit MachineFields(Machine& machine) {
    using namespace parallel;
    add("machine", "name", &machine.name, anything(), "what tables call it");
    add("machine", "memory_gib", &machine.memory_gib, above(0), "memory of one rank");
    add("machine", "ranks_per_host", &machine.ranks_per_host, between(1, 1 << 16), "ranks of one host");
    add("machine", "compute_contention", &machine.compute_contention, at_least(0),
        "share of a computation's time that an exchange beside it adds (ranks on CPUs)");
    add("machine", "link_contention", &machine.link_contention, at_least(0), "likewise of an exchange's time");
    add_line("machine", "sweep", machine.sweep, "over bytes read and written outside of matrix multiplications");
    add_line("multiply", "float32", machine.float32, "over multiply-adds of one matrix multiplication");
    add_line("multiply", "bf16", machine.bf16, "likewise");
    add_line("multiply", "float64", machine.float64, "likewise");
    for (auto& [section, link] : {std::pair<const char*, LinkLines*>{"inside", &machine.inside},
                                  std::pair<const char*, LinkLines*>{"between", &machine.between}}) {
      add_line(section, "all_to_all", link->all_to_all, "over bytes");
      add_line(section, "all_gather", link->all_gather, "over bytes");
      add_line(section, "reduce_scatter", link->reduce_scatter, "over bytes");
      add_line(section, "all_reduce", link->all_reduce, "over bytes");
    }
  }

  const std::vector<RecipeField>& fields() const { return fields_; }

  /// Names of all lines, such as "inside.all_gather".
  const std::vector<std::string>& lines() const { return lines_; }

 private:
  void add(const char* section, const std::string& key, parallel::FieldPointer value, parallel::Legal legal,
           const std::string& sentence) {
    fields_.push_back({{key, value, std::move(legal), sentence}, section});
  }
  void add_line(const char* section, const std::string& key, MachineLine& line, const std::string& sentence) {
    lines_.push_back(std::string(section) + "." + key);
    add(section, key + "_alpha", &line.alpha, parallel::at_least(0), "[s] " + sentence);
    add(section, key + "_beta", &line.beta, parallel::above(0), "slope, " + sentence);
  }

  std::vector<RecipeField> fields_;
  std::vector<std::string> lines_;
};

void require_given(const std::vector<std::string>& given, const std::string& name, const std::string& field,
                   const std::string& wanted) {
  if (std::ranges::count(given, field) == 0) {
    parallel::user_error(name, ": ", field, " is missing; wanted ", wanted);
  }
}

}  // namespace

parallel::Line Machine::multiply(parallel::Enum<Precision> precision) const {
  const MachineLine& line = precision == Precision::kBf16 ? bf16 : precision == Precision::kFloat64 ? float64 : float32;
  return line_of(*this, line, parallel::concat("multiply.", precision),
                 parallel::concat("run.precision = \"", precision, "\""));
}

parallel::Line line_of(const Machine& machine, const MachineLine& line, const std::string& name,
                       const std::string& use) {
  if (!line.given()) {
    parallel::user_error(machine.place, ": gives no line ", name, " (", name, "_alpha, ", name, "_beta), which ", use,
                         " needs");
  }
  return {.alpha = line.alpha, .beta = line.beta};
}

Machine parse_machine(const std::string& text, const std::string& name) {
  Machine machine;
  const MachineFields fields(machine);
  const std::vector<std::string> given = read_fields(fields.fields(), text, name);
  machine.place = name;
  require_given(given, name, "machine.name", "a name for tables, such as name = \"my cluster\"");
  require_given(given, name, "machine.memory_gib", "GiB of one rank, above 0");
  require_given(given, name, "machine.ranks_per_host", "how many ranks a host has, at least 1");
  bool multiplies = false;
  for (const std::string& line : fields.lines()) {
    const bool alpha = std::ranges::count(given, line + "_alpha") > 0;
    const bool beta = std::ranges::count(given, line + "_beta") > 0;
    if (alpha != beta) {
      parallel::user_error(name, ": ", line, alpha ? "_beta" : "_alpha", " is missing; a line is ", line,
                           "_alpha [s] and ", line, "_beta [s a unit], both or neither");
    }
    multiplies |= alpha && line.starts_with("multiply.");
  }
  if (!multiplies) {
    parallel::user_error(name, ": gives no line of [multiply]; wanted at least one of float32, bf16, float64, such as ",
                         "float32_alpha = 1e-5 and float32_beta = 1e-11");
  }
  return machine;
}

std::string to_text(const Machine& machine) {
  Machine copy = machine;  // fields hand out mutable references
  std::vector<RecipeField> given = MachineFields(copy).fields();
  std::erase_if(given, [](const RecipeField& field) {
    const auto* const* number = std::get_if<double*>(&field.value);
    return number != nullptr && **number < 0;  // a line that is not given
  });
  return toml_document(given);
}

Machine read_machine(const std::filesystem::path& file) { return parse_machine(read_text(file), file.string()); }

}  // namespace launch
