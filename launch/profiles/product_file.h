// defines: StoredProducts, products_to_json, products_from_json: which way a run's products of experts take
#pragma once
#include <nlohmann/json_fwd.hpp>
#include <string>

#include "moetrain/products/product_rule.h"

namespace launch {

/// A rule, and the processors, threads and libraries that it was measured with.
struct StoredProducts {
  std::string machine;
  moetrain::ProductRule rule;
};

nlohmann::ordered_json products_to_json(const StoredProducts& products);
/// UserError, naming `place`, for what is none.
StoredProducts products_from_json(const nlohmann::json& object, const std::string& place);

}  // namespace launch
