// What layers may be, by their names in recipes. defines: Activation, NormKind, Pool, Rows, Slot
#pragma once
#include <array>

namespace moetrain {

/// Of a feed-forward, dense or an expert (FeedForward).
enum class Activation { kSwiglu, kGelu, kRelu };
constexpr std::array<const char*, 3> names_of(Activation) { return {"swiglu", "gelu", "relu"}; }

/// RMSNorm or LayerNorm (Norm).
enum class NormKind { kRms, kLayer };
constexpr std::array<const char*, 2> names_of(NormKind) { return {"rms", "layer"}; }

/// What stands for a whole sequence: its first or last token, or the mean of all (pooled).
enum class Pool { kFirst, kMean, kLast };
constexpr std::array<const char*, 3> names_of(Pool) { return {"first", "mean", "last"}; }

/// What is routed and dispatched, or predicted: each token alone, or whole sequences (SequenceRows).
enum class Rows { kTokens, kSequences };
constexpr std::array<const char*, 2> names_of(Rows) { return {"tokens", "sequences"}; }

/// The layer of a block in whose place experts stand: the feed-forward, or the attention to its own side.
enum class Slot { kFeedForward, kAttention };
constexpr std::array<const char*, 2> names_of(Slot) { return {"feed_forward", "attention"}; }

}  // namespace moetrain
