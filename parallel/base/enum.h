// A choice that a recipe gives by name. The names stand once, beside the enumerators: reader, writer, `--keys`,
// messages and code all go by that list. defines: EnumValue, Enum
#pragma once
#include <cstddef>
#include <ostream>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace parallel {

/// What those see of an Enum who walk fields and know no enumerators.
class EnumValue {
 public:
  const char* name() const { return names_[value_]; }
  std::vector<std::string> names() const { return {names_.begin(), names_.end()}; }
  /// UserError, listing the names, for another one.
  void set(std::string_view name);

  bool operator==(const EnumValue& other) const {
    return names_.data() == other.names_.data() && value_ == other.value_;
  }
  friend std::ostream& operator<<(std::ostream& stream, const EnumValue& value) { return stream << value.name(); }

 protected:
  EnumValue(std::span<const char* const> names, size_t value) : names_(names), value_(value) {}
  size_t value() const { return value_; }

 private:
  std::span<const char* const> names_;
  size_t value_;
};

// An enum whose enumerators count from 0 has its names, in their order, in a function beside it:
//
//   enum class Drop { kPosition, kProbability };
//   constexpr std::array<const char*, 2> names_of(Drop) { return {"position", "probability"}; }

/// An enumerator. Becomes one by itself where one is wanted; compared with a text it does not compile.
template <class E>
class Enum : public EnumValue {
 public:
  Enum(E value = E{}) : EnumValue(kNames, static_cast<size_t>(value)) {}
  /// As a recipe names it, so that configs may be written in code as in recipes. UserError for another name.
  Enum(const char* name) : Enum() { set(name); }
  Enum(const std::string& name) : Enum() { set(name); }
  operator E() const { return static_cast<E>(value()); }

 private:
  static constexpr auto kNames = names_of(E{});
};

}  // namespace parallel
