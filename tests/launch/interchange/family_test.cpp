#include "launch/interchange/family.h"

#include <gtest/gtest.h>

#include <functional>
#include <nlohmann/json.hpp>

#include "moetrain/routers/router.h"
#include "tests/launch/interchange/tiny_model.h"

namespace launch::interchange {
namespace {

using Edit = std::function<void(ModelShape&)>;

ModelShape edited(const Edit& edit) {
  ModelShape shape = tiny_shape();
  edit(shape);
  return shape;
}

std::string type_of(const ModelShape& shape) { return family_for(shape).model_type; }

Json config_of(const ModelShape& shape) { return config_of(family_for(shape), shape); }

TEST(Family, MixtralIsExpertsEverywhereAndNothingElse) { EXPECT_EQ(type_of(tiny_shape()), "mixtral"); }

TEST(Family, NoExpertsIsLlamaWhateverTheMoeSectionSays) {
  const ModelShape shape = edited([](ModelShape& s) {
    s.moe.layers = "none";
    s.moe.capacity = "factor";
    s.moe.shared_hidden = 7;
  });
  EXPECT_EQ(type_of(shape), "llama");
}

TEST(Family, OtherMixturesAreQwen2Moe) {
  const std::vector<Edit> edits = {[](ModelShape& s) { s.moe.gate = "raw"; },
                                   [](ModelShape& s) { s.moe.layers = "odd"; },
                                   [](ModelShape& s) { s.moe.shared_hidden = 7; },
                                   [](ModelShape& s) { s.moe.shared_hidden = 7, s.moe.shared_gate = false; }};
  for (const Edit& edit : edits) EXPECT_EQ(type_of(edited(edit)), "qwen2_moe");
}

TEST(Family, LayersOfOneKindAreOneMixtureWhateverTheirNames) {
  const auto named = [](int64_t hidden) {
    return edited([&](ModelShape& s) {
      moetrain::MoeConfig other = s.moe;
      other.name = "other", other.hidden = hidden, other.jitter = 0.01;
      s.moe.named = {other}, s.moe.placement = "moe:0; other:1";
    });
  };
  EXPECT_EQ(type_of(named(5)), "mixtral");
  expect_user_error([&] { family_for(named(6)); },
                    {"moe.placement = \"moe:0; other:1\" cannot be exported", "experts of several kinds",
                     "every architecture of transformers that is known here has one kind"});
}

TEST(Family, ExpertsOfUnequalWidthAreNobodys) {
  expect_user_error(
      [&] { family_for(edited([](ModelShape& s) { s.moe.expert = "feed_forward:1,feed_forward(2):2"; })); },
      {"moe.expert = \"feed_forward:1,feed_forward(2):2\" cannot be exported"});
}

TEST(Family, AttentionDecides) {
  const auto dense = [](const Edit& edit) {
    return type_of(edited([&](ModelShape& s) {
      s.moe.layers = "none";
      edit(s);
    }));
  };
  EXPECT_EQ(dense([](ModelShape& s) { s.model.attending.bias = "all"; }), "llama");
  EXPECT_EQ(dense([](ModelShape& s) { s.model.attending.bias = "qkv"; }), "qwen2");
  EXPECT_EQ(dense([](ModelShape& s) { s.model.attending.norm = "head"; }), "qwen3");
  EXPECT_EQ(dense([](ModelShape& s) { s.model.attending.window = 5; }), "mistral");
  EXPECT_EQ(type_of(edited([](ModelShape& s) { s.model.attending.norm = "head"; })), "qwen3_moe");
  EXPECT_EQ(type_of(edited([](ModelShape& s) { s.model.attending.norm = "all"; })), "olmoe");
  EXPECT_EQ(type_of(edited([](ModelShape& s) { s.model.attending.window = 5; })), "mixtral");
}

TEST(Family, WhatAConfigSaysIsReadAgainAsTheSame) {
  const std::vector<Edit> edits = {[](ModelShape&) {},
                                   [](ModelShape& s) { s.moe.layers = "1"; },
                                   [](ModelShape& s) { s.model.attending.rope = "llama3"; },
                                   [](ModelShape& s) { s.model.attending.rope = "yarn"; },
                                   [](ModelShape& s) { s.model.attending.rope = "linear"; },
                                   [](ModelShape& s) { s.model.attending.head_width = 6; }};
  for (const Edit& edit : edits) {
    const ModelShape shape = edited(edit);
    const Family& family = family_for(shape);
    const ModelShape again = shape_from(family, config_of(shape), "config.json");
    const ModelShape held = family.held_as != nullptr ? family.held_as(shape) : shape;
    EXPECT_EQ(said_of(canonical(again)), said_of(canonical(held))) << family.model_type;
    EXPECT_EQ(again.vocabulary_size, shape.vocabulary_size);
  }
}

ModelShape switch_shape() {
  return edited([](ModelShape& s) {
    s.model.kind = "encoder_decoder", s.model.encoder_layers = 3, s.model.layers = 2;
    s.model.kv_heads = s.model.heads, s.model.activation = "relu", s.model.scaled_head = s.model.tie_embeddings = true;
    s.model.attending.positions = "relative", s.model.attending.scaled = false;
    s.moe.router = "switch", s.moe.gate = "raw", s.moe.top_k = 1, s.moe.layers = "1,3,4";
    s.moe.hidden = s.model.ffn_hidden;
    s.moe.losses["load_balance"] = 0.02;
  });
}

TEST(Family, SwitchIsADistanceAndOneExpert) {
  const Json config = config_of(switch_shape());
  EXPECT_EQ(config["model_type"], "switch_transformers");
  EXPECT_EQ(config["encoder_sparse_step"], 2);  // of three blocks the second
  EXPECT_EQ(config["num_sparse_encoder_layers"], 1);
  EXPECT_EQ(config["decoder_sparse_step"], 1);
  EXPECT_EQ(config["router_aux_loss_coef"], 0.02);
  const ModelShape again = shape_from(family_for(switch_shape()), config, "config.json");
  EXPECT_EQ(said_of(canonical(again)), said_of(canonical(switch_shape())));
  EXPECT_EQ(again.moe.losses.at("load_balance").value, 0.02);
  EXPECT_EQ(again.model.start_token, 0);
  const auto other = [](const Edit& edit) {
    ModelShape shape = switch_shape();
    edit(shape);
    return shape;
  };
  // The same by another name; what trains it otherwise.
  EXPECT_EQ(type_of(other([](ModelShape& s) { s.moe.router = "top_k"; })), "switch_transformers");
  EXPECT_EQ(type_of(other([](ModelShape& s) { s.model.start_token = 5; })), "switch_transformers");
  const auto refused = [&](const Edit& edit, const std::string& key) {
    expect_user_error([&] { family_for(other(edit)); }, {key, "SwitchTransformersForConditionalGeneration"});
  };
  refused([](ModelShape& s) { s.moe.layers = "0,3,4"; }, "moe.layers");  // no step gives the first block alone
  refused([](ModelShape& s) { s.moe.hidden += 1; }, "moe.hidden");
  refused([](ModelShape& s) { s.model.scaled_head = false; }, "model.scaled_head");
  refused([](ModelShape& s) { s.model.attending.scaled = true; }, "attention.scaled");
  refused([](ModelShape& s) { s.moe.capacity = "factor"; }, "moe.capacity");
}

TEST(Family, WhatTransformersLacksIsRefusedByKey) {
  const auto refused = [](const Edit& edit, const std::vector<std::string>& words) {
    expect_user_error([&] { family_for(edited(edit)); }, words);
  };
  refused([](ModelShape& s) { s.model.norm = "layer"; }, {"model.norm", "\"layer\"", "\"rms\""});
  refused([](ModelShape& s) { s.model.activation = "gelu"; }, {"model.activation", "\"gelu\"", "\"swiglu\""});
  refused([](ModelShape& s) { s.model.kind = "encoder_decoder"; }, {"model.kind", "\"decoder_lm\""});
  for (const std::string& router : moetrain::builtin_routers().names()) {
    if (router == "top_k") continue;
    expect_user_error([&] { family_for(edited([&](ModelShape& s) { s.moe.router = router; })); },
                      {"moe.router", "\"" + router + "\"", router == "task_table" ? "--task" : "\"top_k\""});
  }
  refused([](ModelShape& s) { s.moe.task_bias = true; }, {"moe.task_bias", "--task"});
  refused([](ModelShape& s) { s.moe.gate = "hard"; }, {"moe.gate", "\"hard\""});
  refused([](ModelShape& s) { s.moe.capacity = "factor"; }, {"moe.capacity", "\"factor\"", "\"dropless\""});
  refused([](ModelShape& s) { s.moe.experts_by_layer = {4, 8}; }, {"moe.experts_by_layer", "[4, 8]", "[]"});
  refused([](ModelShape& s) { s.moe.zero_experts = 1; }, {"moe.zero_experts", "1", "has 0"});
  refused([](ModelShape& s) { s.moe.copy_experts = 2; }, {"moe.copy_experts", "2", "has 0"});
  refused([](ModelShape& s) { s.moe.constant_experts = 1; }, {"moe.constant_experts", "1", "has 0"});
  refused([](ModelShape& s) { s.moe.null_experts = 1; }, {"moe.null_experts", "1", "has 0"});
  refused([](ModelShape& s) { s.moe.latent = 3; }, {"moe.latent", "3", "has 0"});
  refused([](ModelShape& s) { s.moe.shared_combine = "residual", s.moe.shared_hidden = 7; },
          {"moe.shared_combine", "\"residual\"", "\"add\""});
  refused([](ModelShape& s) { s.moe.layers = "0,9"; }, {"moe.layers"});
}

TEST(Family, MixtralConfigHoldsTheModelsNumbers) {
  const Json config = config_of(tiny_shape());
  EXPECT_EQ(config["architectures"], Json({"MixtralForCausalLM"}));
  EXPECT_EQ(config["model_type"], "mixtral");
  const std::map<std::string, int> numbers = {
      {"vocab_size", 300},        {"hidden_size", 4},         {"num_hidden_layers", 2},
      {"num_attention_heads", 2}, {"num_key_value_heads", 1}, {"intermediate_size", 5},
      {"num_local_experts", 3},   {"num_experts_per_tok", 2}, {"max_position_embeddings", 16}};
  for (const auto& [key, value] : numbers) EXPECT_EQ(config[key], value) << key;
  EXPECT_EQ(config["rms_norm_eps"], 1e-5);
  EXPECT_EQ(config["rope_parameters"]["rope_theta"], 10000.0);
  EXPECT_TRUE(config["rope_theta"].is_number_float());  // transformers refuses a whole number here
  EXPECT_EQ(config["tie_word_embeddings"], true);
}

TEST(Family, Qwen2MoeConfigTellsGateDenseBlocksAndSharedExpert) {
  Json config = config_of(edited([](ModelShape& s) {
    s.moe.layers = "odd";
    s.moe.gate = "raw";
  }));
  EXPECT_EQ(config["model_type"], "qwen2_moe");
  EXPECT_EQ(config["mlp_only_layers"], Json({0}));
  EXPECT_EQ(config["norm_topk_prob"], false);
  EXPECT_EQ(config["qkv_bias"], false);
  EXPECT_EQ(config["intermediate_size"], 6);
  EXPECT_EQ(config["moe_intermediate_size"], 5);
  EXPECT_EQ(config["shared_expert_intermediate_size"], 1);  // all zeros
  config = config_of(edited([](ModelShape& s) { s.moe.shared_hidden = 7; }));
  EXPECT_EQ(config["mlp_only_layers"], Json::array());
  EXPECT_EQ(config["norm_topk_prob"], true);
  EXPECT_EQ(config["shared_expert_intermediate_size"], 7);
}

TEST(Family, LlamaConfigIsTheDenseShape) {
  const Json config = config_of(edited([](ModelShape& s) { s.moe.layers = "none"; }));
  EXPECT_EQ(config["model_type"], "llama");
  EXPECT_EQ(config["intermediate_size"], 6);
  EXPECT_EQ(config["attention_bias"], false);
  EXPECT_FALSE(config.contains("num_experts_per_tok"));
}

}  // namespace
}  // namespace launch::interchange
