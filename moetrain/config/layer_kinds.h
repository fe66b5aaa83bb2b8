// What dense layers may be, by their names in recipes. defines: Activation, NormKind
#pragma once
#include <array>

namespace moetrain {

/// Of a feed-forward, dense or an expert (FeedForward).
enum class Activation { kSwiglu, kGelu, kRelu };
constexpr std::array<const char*, 3> names_of(Activation) { return {"swiglu", "gelu", "relu"}; }

/// RMSNorm or LayerNorm (Norm).
enum class NormKind { kRms, kLayer };
constexpr std::array<const char*, 2> names_of(NormKind) { return {"rms", "layer"}; }

}  // namespace moetrain
