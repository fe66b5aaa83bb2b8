// What every model is.
// defines: Model, Embedding, ModelInputs, TokenSide, PassScope, ModelOutput, LayerRouting, StackShape
#pragma once
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "moetrain/layers/norm.h"
#include "moetrain/layers/output_head.h"
#include "moetrain/layers/sequences.h"
#include "moetrain/losses/loss_terms.h"
#include "moetrain/models/document_shape.h"
#include "moetrain/models/model_config.h"
#include "moetrain/models/recompute.h"
#include "moetrain/moe/layer_observer.h"
#include "moetrain/moe/moe_layer.h"
#include "moetrain/routers/scores/pre_gate.h"
#include "parallel/mesh/matrix_parts.h"

namespace moetrain {

/// This rank's sequences of a micro-batch, and where they stand in it. A tensor group shares them: each of its ranks is
/// given all, and the model computes on its own part of their tokens.
struct TokenSide {
  at::Tensor ids_T;          // int64; undefined where they are
  at::Tensor value_TC = {};  // patches of images
  Sequences sequences;
  int64_t global_tokens = 0;     // of the whole micro-batch, all ranks
  int64_t first_token = 0;       // global index; in evaluation, within the whole text
  int64_t global_sequences = 0;  // likewise
  int64_t first_sequence = 0;
  int64_t longest = 0;                // tokens of the longest sequence of the micro-batch, all ranks; 0: these are all
  at::Tensor sequence_number_S = {};  // int64, CPU: global numbers where they do not count on from the first (beams)
  at::Tensor task_S = {};             // int64, CPU: the number of each sequence's task; undefined: there are no tasks

  /// Sequences of one length, [S, L], which are the whole micro-batch.
  static TokenSide whole(const at::Tensor& ids_SL);
};

/// What a model reads. The head predicts from the hidden states of `tokens` or, a classifier's, of their sequences.
struct ModelInputs {
  TokenSide tokens;
  std::optional<TokenSide> source;  // what an encoder reads; sequence s belongs to sequence s of the tokens
  // Of each sequence of the tokens, what a diffusion model is conditioned on:
  at::Tensor time_S = {};   // in [0, 1], of the noise
  at::Tensor class_S = {};  // int64
};

/// How a forward pass is made, whatever it is fed.
struct PassScope {
  parallel::Communicator& group;
  bool training = false;
  DrawKey draws = {};
  int64_t update = 0;  // updates done before this one
  /// By number of the layer (LayerSite): what the update's earlier micro-batches chose; see BatchScope.
  std::vector<at::Tensor> earlier_choices = {};
  Recompute recompute = Recompute::kNone;  // what is not kept for backward
  LayerObserver* observer = nullptr;       // in evaluation, of a model that is whole; null: nobody
};

/// Whose tokens a block sees.
enum class Side { kTokens, kSource };

/// A stack of blocks.
struct StackShape {
  std::string name;         // its parameters begin with it: "blocks"
  int64_t first_layer = 0;  // number of its first block in the model
  int64_t blocks = 0;
  bool causal = true;
  bool cross = false;
  Side side = Side::kTokens;
  bool modulated = false;  // by a condition of each sequence
};

struct LayerRouting {
  LayerSite site;
  Side side = Side::kTokens;
  Rows rows = Rows::kTokens;  // of that side
  int64_t global_rows = 0;    // in the micro-batch, all ranks
  RoutingDecision decision;
};

struct ModelOutput {
  /// After the final norm, for the head: of this rank's tokens, or of its sequences (classifier). Of a model without a
  /// head what it predicts, [T, C].
  at::Tensor hidden_TD;
  LossTerms losses;                   // shares of the layers' own losses, summed over layers; empty in evaluation
  std::vector<LayerRouting> routing;  // of the layers of experts
};

/// The embedding of tokens, under the name "weight", [V, D], its rows spread over the tensor group.
class Embedding : public torch::nn::Module {
 public:
  Embedding(const ParameterSource& source, int64_t vocabulary, const ModelConfig& config);
  /// ids_G of all the group's tokens -> this rank's [T, D], with the model's dropout in training; `place`: the purpose
  /// of its draws. Collective over the group.
  at::Tensor forward(const at::Tensor& ids_G, const BatchScope& scope, const char* place) const;
  const Vocabulary& vocabulary() const { return vocabulary_; }
  at::Tensor weight_WD;

 private:
  Vocabulary vocabulary_;
  double dropout_;
};

/// What every kind has, and what says how it was built: final norm; of models that read tokens an embedding, of those
/// that predict some of a set a head.
class Model : public torch::nn::Module {
 public:
  /// Sequences of this rank may be none. Collective over the pass's group.
  virtual ModelOutput forward(const ModelInputs& inputs, const PassScope& pass) = 0;

  /// Of the documents that it reads; as its preset says.
  virtual DocumentShape documents() const { return {}; }

  const OutputHead& head() const;  // @pre it has one
  const ModelConfig& config() const { return config_; }
  const MoeConfig& moe_config() const { return moe_config_; }
  /// The one router of its layers; null where they have their own.
  const PreGate* pre_gate() const { return pre_gate_.get(); }
  int64_t vocabulary() const { return embedding_ ? embedding_->vocabulary().size() : 0; }
  ParameterCount parameter_count() const { return moetrain::parameter_count(*this, *placements_); }
  /// How the tensor group shares so many things.
  parallel::TokenParts parts(int64_t things) const;
  /// By the name of the parameter.
  const PlacementTable& placements() const { return *placements_; }
  /// Which of its linear layers have adapters.
  const Adapters& adapters() const { return *adapters_; }
  /// Of each parameter, in the order of named_parameters, that holds matrices which map tokens, one or many,
  /// [..., rows, columns]: how they become whole.
  std::vector<std::optional<parallel::MatrixParts>> matrices() const;
  /// What changes after an update and not by gradient (a router's bias), given by number of the layer, as in
  /// PassScope::earlier_choices, the choices of each expert over the update's global batch.
  void after_update(const std::vector<at::Tensor>& choices);

 protected:
  Model(const ModelConfig& config, const MoeConfig& moe, const ParameterSource& source);
  void add_embedding(const ParameterSource& source, int64_t vocabulary);
  /// Where layers share one.
  void add_pre_gate(const ParameterSource& source, int64_t vocabulary);
  /// Registers the final norm and the head; after the blocks, so that parameters keep the order of computation.
  void add_head(const ParameterSource& source);
  /// Likewise, a head of its own for so many classes.
  void add_head(const ParameterSource& source, int64_t classes);
  /// What the blocks put out, as the head is to see it: normed, and scaled where the config says so.
  at::Tensor for_head(const at::Tensor& x_TD) const;
  std::shared_ptr<Norm> add_norm(const ParameterSource& source, const std::string& name);
  /// What a layer may know of the micro-batch around this rank's tokens.
  BatchScope scope_of(const TokenSide& side, const PassScope& pass) const;

  std::shared_ptr<Embedding> embedding_;
  std::shared_ptr<PreGate> pre_gate_;  // null without
  std::shared_ptr<Norm> final_norm_;

 private:
  ModelConfig config_;
  MoeConfig moe_config_;
  std::shared_ptr<const PlacementTable> placements_;
  std::shared_ptr<const VectorNames> vectors_;
  std::shared_ptr<const Adapters> adapters_;
  std::shared_ptr<const parallel::Mesh> mesh_;
  std::shared_ptr<OutputHead> head_;
};

}  // namespace moetrain
