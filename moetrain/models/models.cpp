#include "moetrain/models/models.h"

#include "parallel/base/fault.h"

namespace moetrain {

// Kinds of models, each in a file of its own.
ModelPreset decoder_lm();
ModelPreset encoder_decoder();
ModelPreset classifier();
ModelPreset diffusion_transformer();

parallel::NameTable<ModelPreset> builtin_models() {
  return {"model",
          {{"decoder_lm", decoder_lm()},
           {"encoder_decoder", encoder_decoder()},
           {"classifier", classifier()},
           {"diffusion_transformer", diffusion_transformer()}}};
}

void check_without_encoder(const ModelConfig& config) {
  if (config.encoder_layers == 0) return;
  parallel::user_error("model.encoder_layers (", config.encoder_layers, ") and model.kind (\"", config.kind,
                       "\") contradict; legal: kind = \"encoder_decoder\" with at least 1, or encoder_layers = 0");
}

}  // namespace moetrain
