// Which Hugging Face architecture holds a moetrain model, and its config.json.
// defines: Architecture, ModelShape, choose_architecture, config_json, generation_config_json
#pragma once
#include <cstdint>
#include <string>

#include "moetrain/config/moe_config.h"
#include "moetrain/models/model_config.h"

namespace launch::interchange {

enum class Architecture {
  kLlama,     // no experts
  kMixtral,   // experts in every block, gate "sum1", no shared expert
  kQwen2Moe,  // every other mixture: dense blocks among them, a shared expert, or gate "raw"
};

/// What the two configs leave open, decided by the recipe and the data.
struct ModelShape {
  moetrain::ModelConfig model;
  moetrain::MoeConfig moe;
  int64_t vocabulary_size = 0;  // rows of the embedding, padding included
  int64_t sequence_length = 0;  // longest sequence trained on
};

/// What transformers cannot represent is a UserError that names key, value and what is legal.
Architecture choose_architecture(const ModelShape& shape);

/// True where Qwen2-MoE demands a shared expert that the model does not have: one unit wide, all zeros.
bool needs_zero_shared_expert(const ModelShape& shape);

/// `dtype`: "float32" or "bfloat16", that of the exported tensors.
std::string config_json(const ModelShape& shape, int64_t end_of_text, const std::string& dtype);
std::string generation_config_json(int64_t end_of_text);

}  // namespace launch::interchange
