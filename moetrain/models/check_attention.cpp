#include "moetrain/models/check_attention.h"

#include <string>

#include "moetrain/attention/position_bias.h"
#include "moetrain/attention/rope_scaling.h"
#include "moetrain/moe/expert_blocks.h"
#include "parallel/base/fault.h"
#include "parallel/base/nearest.h"

namespace moetrain {
namespace {

using parallel::concat;
using parallel::user_error;

/// What [attention] may say of the stacks that there are.
void check_stacks(const ModelConfig& model, const std::vector<StackShape>& stacks) {
  const AttentionConfig& attention = model.attending;
  for (const StackShape& stack : stacks) {
    if (attention.window > 0 && !stack.causal) {
      user_error("attention.window = ", attention.window, ", but the blocks \"", stack.name, "\" of model.kind = \"",
                 model.kind, "\" see whole sequences; legal: attention.window = 0");
    }
    if (stack.modulated && attention.positions == Positions::kRelative) {
      user_error("attention.positions = \"relative\", but model.kind = \"", model.kind,
                 "\" has its positions in its input; legal: attention.positions = \"rotary\"");
    }
    if (attention.weights == AttentionWeights::kStickBreaking && (!stack.causal || stack.cross)) {
      user_error("attention.weights = \"stick_breaking\", but the blocks \"", stack.name, "\" of model.kind = \"",
                 model.kind, stack.causal ? "\" attend to a source too" : "\" see whole sequences",
                 ", where no key is the latest; legal: attention.weights = \"softmax\"");
    }
    if (stack.cross && (attention.norm == QkNorm::kAll || attention.sinks)) {
      user_error("attention.", attention.sinks ? "sinks = true" : "norm = \"all\"", ", but model.kind = \"", model.kind,
                 "\" attends to a source too; legal: attention.norm = \"none\" or \"head\", ",
                 "attention.sinks = false");
    }
  }
}

/// Latent attention has neither shared heads nor what only grouped attention may be told.
void check_latent(const ModelConfig& model, const std::vector<StackShape>& stacks) {
  const AttentionConfig& attention = model.attending;
  const auto& latent = attention.own<LatentConfig>();
  const std::string with = " with attention.kind = \"latent\"";
  if (latent.turned_width % 2 != 0) {
    user_error("attention.latent.turned_width (", latent.turned_width,
               ") must be even; nearest legal: ", parallel::nearest_multiples(latent.turned_width, 2));
  }
  if (model.kv_heads != model.heads) {
    user_error("model.kv_heads = ", model.kv_heads, with,
               ", whose heads share a latent and no keys; legal: kv_heads = ", model.heads, ", model.heads");
  }
  if (attention.weights != AttentionWeights::kSoftmax) {
    user_error("attention.weights = \"", attention.weights, "\"", with, "; legal: \"softmax\"");
  }
  if (attention.norm != QkNorm::kNone) user_error("attention.norm = ", attention.norm, with, "; legal: none");
  if (attention.bias == ProjectionBias::kQkv) user_error("attention.bias = qkv", with, "; legal: none, all");
  if (attention.window > 0) user_error("attention.window = ", attention.window, with, "; legal: 0");
  if (!attention.scaled) user_error("attention.scaled = false", with, "; legal: true");
  if (attention.positions != Positions::kRotary) {
    user_error("attention.positions = \"", attention.positions, "\"", with, "; legal: \"rotary\"");
  }
  if (attention.sinks) user_error("attention.sinks = true", with, "; legal: false");
  if (attention.clip > 0) user_error("attention.clip = ", attention.clip, with, "; legal: 0");
  if (attention.head_width > 0) user_error("attention.head_width = ", attention.head_width, with, "; legal: 0");
  for (const StackShape& stack : stacks) {
    if (stack.modulated) {
      user_error("attention.kind = \"latent\", but model.kind = \"", model.kind,
                 "\" has its positions in its input; legal: attention.kind = \"grouped\"");
    }
    if (stack.cross)
      user_error("attention.kind = \"latent\", but model.kind = \"", model.kind,
                 "\" attends to a source too; legal: attention.kind = \"grouped\"");
  }
}

/// Weights in which the latest match wins know order by themselves, and leave nothing for a key that is none.
void check_stick_breaking(const AttentionConfig& attention) {
  const std::string with = " with attention.weights = \"stick_breaking\"";
  if (attention.positions != Positions::kNone) {
    user_error("attention.positions = \"", attention.positions, "\"", with,
               ", which needs no positions; legal: positions = \"none\"");
  }
  if (attention.sinks) user_error("attention.sinks = true", with, ", whose weights need not sum to 1; legal: false");
}

/// Where positions turn pairs of a head's numbers; else those widths are free, and no frequencies are there.
void check_rotary(const ModelConfig& model) {
  const AttentionConfig& attention = model.attending;
  if (attention.positions != Positions::kRotary) {
    if (attention.positions == Positions::kRelative) check_relative(attention);
    if (attention.rope != RopeKind::kPlain) {
      user_error("attention.rope = \"", attention.rope, "\" with attention.positions = \"", attention.positions,
                 "\", which turns nothing; legal: rope = \"plain\"");
    }
    if (attention.head_width > 0 || model.width % model.heads == 0) return;
    user_error("model.width (", model.width, ") must be a multiple of model.heads (", model.heads,
               "); nearest legal width: ", parallel::nearest_multiples(model.width, model.heads),
               ", or say attention.head_width");
  }
  if (attention.head_width % 2 != 0) {
    user_error("attention.head_width (", attention.head_width,
               ") must be even, because rotary positions turn pairs; nearest legal: ",
               parallel::nearest_multiples(attention.head_width, 2));
  }
  const bool latent = attention.kind == AttentionKind::kLatent;
  if (!latent && attention.head_width == 0 && model.width % (2 * model.heads) != 0) {
    user_error("model.width (", model.width, ") must be an even multiple of model.heads (", model.heads,
               "), because rotary positions turn pairs; nearest legal width: ",
               parallel::nearest_multiples(model.width, 2 * model.heads), ", or say attention.head_width");
  }
  check_rope(attention);
}

/// An attention whose projections are experts: `layer`.
void check_modules(const ModelConfig& model, const MoeConfig& layer, int64_t tensor) {
  const std::string section = section_of(layer), with = " with " + section + " in the place of an attention";
  const AttentionConfig& attention = model.attending;
  if (attention.kind != AttentionKind::kGrouped) {
    user_error("attention.kind = \"", attention.kind, "\"", with, "; legal: \"grouped\"");
  }
  if (attention.norm != QkNorm::kNone)
    user_error("attention.norm = \"", attention.norm, "\"", with, "; legal: \"none\"");
  if (attention.bias != ProjectionBias::kNone) {
    user_error("attention.bias = \"", attention.bias, "\"", with, "; legal: \"none\"");
  }
  if (attention.sinks) user_error("attention.sinks = true", with, "; legal: false");
  if (attention.clip > 0) user_error("attention.clip = ", attention.clip, with, "; legal: 0");
  const int64_t step = attention.positions == Positions::kRotary ? 2 * model.heads : model.heads;
  if (layer.hidden % step != 0) {
    user_error(section, ".hidden (", layer.hidden, ") is cut into the ", model.heads, " heads of model.heads",
               step > model.heads ? ", whose pairs of numbers rotary positions turn" : "",
               "; nearest legal: ", parallel::nearest_multiples(layer.hidden, step));
  }
  if (model.kv_heads % tensor != 0) {
    user_error("mesh.tensor = ", tensor, " does not divide model.kv_heads = ", model.kv_heads,
               ", whose keys the modules of ", section,
               " share; nearest legal: mesh.tensor = ", parallel::nearest_divisors(tensor, model.kv_heads));
  }
}

}  // namespace

void check_attention(const ModelConfig& model, const std::vector<StackShape>& stacks) {
  if (model.attending.kind == AttentionKind::kLatent) check_latent(model, stacks);
  check_rotary(model);
  if (model.attending.weights == AttentionWeights::kStickBreaking) check_stick_breaking(model.attending);
  windowed_blocks(model);
  check_stacks(model, stacks);
}

void check_attention_modules(const ModelConfig& model, const MoeConfig& moe, int64_t tensor) {
  const auto layers = layer_configs(moe, total_blocks(model), Slot::kAttention);
  const std::vector<bool> attends = attention_blocks(model);
  for (size_t block = 0; block < layers.size(); ++block) {
    if (!layers[block]) continue;
    if (!attends[block]) {
      user_error("moe.placement = \"", moe.placement, "\": block ", block,
                 " has no attention in whose place experts could stand, by model.attention = \"", model.attention,
                 "\"");
    }
    check_modules(model, *layers[block], tensor);
  }
}

}  // namespace moetrain
