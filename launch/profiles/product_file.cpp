#include "launch/profiles/product_file.h"

#include <nlohmann/json.hpp>

#include "launch/profiles/json_members.h"
#include "parallel/base/fault.h"

namespace launch {
namespace {

using moetrain::GroupedShape;
using moetrain::ProductRule;
using moetrain::ProductWay;
using nlohmann::json;

/// One of an Enum's names.
void take_name(JsonMembers& members, const char* key, parallel::EnumValue& value) {
  std::string name = value.name();
  members.text(key, name);
  const std::vector<std::string> names = value.names();
  if (std::ranges::count(names, name) == 0) members.refuse(key, name, "one of " + parallel::list_names(names));
  value.set(name);
}

void take_way(JsonMembers& members, ProductWay& way) {
  take_name(members, "library", way.library);
  members.boolean("spread", way.spread);
}

ProductRule::Entry entry_from_json(const json& object, const std::string& place) {
  JsonMembers members(object, place);
  ProductRule::Entry entry;
  take_name(members, "kind", entry.shape.kind);
  members.integer("in", 1, entry.shape.in);
  members.integer("out", 1, entry.shape.out);
  members.integer("rows", 1, entry.shape.rows);
  take_way(members, entry.way);
  members.refuse_others();
  return entry;
}

}  // namespace

nlohmann::ordered_json products_to_json(const StoredProducts& products) {
  nlohmann::ordered_json entries = nlohmann::ordered_json::array();
  for (const auto& [shape, way] : products.rule.entries) {
    entries.push_back({{"kind", shape.kind.name()},
                       {"in", shape.in},
                       {"out", shape.out},
                       {"rows", shape.rows},
                       {"library", way.library.name()},
                       {"spread", way.spread}});
  }
  return {{"machine", products.machine}, {"products", entries}};
}

StoredProducts products_from_json(const json& object, const std::string& place) {
  constexpr size_t kMost = 10000;  // far more than any model has, and soon looked through
  JsonMembers members(object, place);
  StoredProducts stored;
  members.text("machine", stored.machine);
  if (const json* entries = members.take("products")) {
    if (!entries->is_array() || entries->size() > kMost)
      members.refuse("products", *entries, parallel::concat("a list of at most ", kMost));
    for (size_t i = 0; i < entries->size(); ++i)
      stored.rule.entries.push_back(entry_from_json((*entries)[i], parallel::concat(place, ": products[", i, "]")));
  }
  members.refuse_others();
  return stored;
}

}  // namespace launch
