#include "moetrain/models/models.h"

#include "moetrain/models/decoder_lm.h"
#include "moetrain/models/encoder_decoder.h"

namespace moetrain {
namespace {

template <class Kind>
std::shared_ptr<Model> make(const ModelInput& input) {
  return std::make_shared<Kind>(input.config, input.moe, input.vocabulary, input.source, input.tables);
}

}  // namespace

parallel::NameTable<std::shared_ptr<Model> (*)(const ModelInput& input)> builtin_models() {
  return {"model", {{"decoder_lm", &make<DecoderLm>}, {"encoder_decoder", &make<EncoderDecoder>}}};
}

}  // namespace moetrain
