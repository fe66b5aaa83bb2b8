// A diffusion model gives the same numbers on any number of ranks: times, noise and dropped classes are draws by place.
#include "data/images/png.h"
#include "moetrain/models/diffusion_transformer.h"
#include "tests/launch/training/training_support.h"
#include "tests/support/tiny_corpus.h"
#include "tests/support/world.h"

namespace {

/// 60 images of 6 x 4 grey pixels in two classes. One rank writes. Collective.
std::string make_tiny_images(const TestFolder& folder, parallel::Communicator& world) {
  return prepared_by_one(folder, world, "images.h5", [&](data::PrepareOptions& options) {
    options.images = folder.path() / "images";
    options.heldout = 0.2;
    const parallel::RandomStream stream(11, "tiny images");
    for (int64_t i = 0; i < 60; ++i) {
      const std::filesystem::path group = folder.path() / "images" / (i % 2 == 0 ? "even" : "odd");
      std::filesystem::create_directories(group);
      data::Image image{.shape = {6, 4, 1}};
      for (int64_t p = 0; p < 24; ++p) image.pixels.push_back(static_cast<uint8_t>(stream.below(i * 24 + p, 256)));
      data::write_png(group / (std::to_string(i) + ".png"), image);
    }
  });
}

launch::Recipe tiny_diffusion(const std::string& data_file) {
  launch::Recipe recipe = tiny_recipe(data_file);
  recipe.model.kind = "diffusion_transformer";
  auto& own = recipe.model.own<moetrain::DiffusionConfig>();
  own.height = 6, own.image_width = 4, own.classes = 2;
  recipe.model.heads = recipe.model.kv_heads = 12;
  recipe.objective.kind = "rectified_flow";
  recipe.moe.gate = "raw";
  recipe.moe.shared_hidden = 20, recipe.moe.shared_gate = false;
  return recipe;
}

struct DiffusionCase {
  const char* name;
  void (*change)(launch::Recipe&);
};

const DiffusionCase kDiffusionCases[] = {
    {"experts_in_every_block", [](launch::Recipe&) {}},
    {"dense_in_two_micro_batches", [](launch::Recipe& r) { r.moe.layers = "none", r.train.micro_batches = 2; }},
    {"recomputed_blocks", [](launch::Recipe& r) { r.train.recompute = "block", r.model.dropout = 0.1; }},
    {"recomputed_experts", [](launch::Recipe& r) { r.train.recompute = "moe", r.moe.layers = "odd"; }},
    {"soft_slots",
     [](launch::Recipe& r) {
       r.moe.router = "soft", r.moe.own<moetrain::SoftConfig>().slots = 2, r.moe.losses["load_balance"] = 0;
     }},
    {"ddpm_of_variances",
     [](launch::Recipe& r) {
       r.objective.kind = "ddpm", r.model.own<moetrain::DiffusionConfig>().learned_variance = true;
     }},
    {"averaged_weights_of_few_images", [](launch::Recipe& r) { r.optimizer.average = 0.9, r.train.global_batch = 2; }},
};

class DiffusionLayout : public testing::TestWithParam<size_t> {};

TEST_P(DiffusionLayout, AgreesWithOneRankInFloat64) {
  const auto world = test_world();
  const TestFolder folder("diffusion_layout", *world);
  launch::Recipe recipe = tiny_diffusion(make_tiny_images(folder, *world));
  kDiffusionCases[GetParam()].change(recipe);
  // The third update is the first to move more than what began at zero: modulations and the output.
  const UpdateTrace reference = trace_of_one_rank(recipe, 4);
  for (const parallel::MeshConfig& mesh : layouts_of_case(recipe, world->size(), GetParam())) {
    const launch::Groups groups = test_groups(mesh);
    SCOPED_TRACE(groups.mesh->shape().describe());
    expect_same_trace(run_updates(recipe, groups, 4), reference, 1e-10);
  }
}

INSTANTIATE_TEST_SUITE_P(All, DiffusionLayout, testing::Range(size_t{0}, std::size(kDiffusionCases)),
                         [](const auto& each) { return std::string(kDiffusionCases[each.param].name); });

}  // namespace
