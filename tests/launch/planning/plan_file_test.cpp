#include "launch/profiles/plan_file.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "parallel/base/fault.h"

namespace {

using launch::plan_from_json;
using launch::plan_to_json;
using nlohmann::json;
using parallel::GradientRelease;
using parallel::Plan;

Plan plan_of_two() {
  return {.name = "by hand",
          .overlap = true,
          .one_link = true,
          .release = GradientRelease::kPlanned,
          .carve_out = 6,
          .slice_bytes = 4096,
          .layers = {{.forward_chunks = 3, .backward_chunks = 5, .moe_gradient_bytes = 8192},
                     {.dense_gradient_bytes = 77}}};
}

TEST(PlanFile, ComesBackAsItWas) {
  for (const GradientRelease release :
       {GradientRelease::kAfterBackward, GradientRelease::kWhenReady, GradientRelease::kPlanned}) {
    Plan plan{.release = release};
    EXPECT_EQ(plan_from_json(json::parse(plan_to_json(plan).dump()), "text"), plan);
  }
  EXPECT_EQ(plan_from_json(json::parse(plan_to_json(plan_of_two()).dump()), "text"), plan_of_two());
  EXPECT_EQ(plan_from_json(json::object(), "text"), Plan{}) << "absent keys keep their defaults";
}

TEST(PlanFile, IsWrittenAndRead) {
  const auto path = std::filesystem::temp_directory_path() / ("plan_file_test." + std::to_string(::getpid()) + ".json");
  launch::write_plan_file(path, plan_of_two());
  EXPECT_EQ(launch::read_plan_file(path), plan_of_two());
  std::ofstream(path) << "{\"name\": ";
  EXPECT_THROW(launch::read_plan_file(path), parallel::UserError) << "a torn file";
  std::filesystem::remove(path);
  EXPECT_THROW(launch::read_plan_file(path), parallel::UserError) << "no file";
  EXPECT_THROW(launch::write_plan_file(path / "below", plan_of_two()), parallel::UserError);
}

/// What the error for a plan says.
std::string error_of(const std::string& text) {
  try {
    plan_from_json(json::parse(text), "plan.json");
  } catch (const parallel::UserError& error) {
    return error.what();
  }
  return "none";
}

TEST(PlanFile, NonsenseIsRefusedWithPlaceValueAndWhatIsLegal) {
  EXPECT_EQ(error_of("[]"), "plan.json: [] is no object with keys");
  EXPECT_EQ(error_of(R"({"overlap": "yes"})"), "plan.json: overlap = \"yes\" is not legal; it must be true or false");
  EXPECT_EQ(error_of(R"({"release": "soon"})"),
            "plan.json: release = \"soon\" is not legal; it must be one of after_backward, when_ready, planned");
  EXPECT_EQ(error_of(R"({"layers": [{}, {"backward_chunks": 0}]})"),
            "plan.json: layers[1]: backward_chunks = 0 is not legal; it must be a whole number, at least 1");
  EXPECT_EQ(error_of(R"({"layers": [{"forward_chunk": 2}]})"),
            "plan.json: layers[0]: unknown key \"forward_chunk\", is 'forward_chunks' meant? (known: forward_chunks, "
            "backward_chunks, moe_gradient_bytes, dense_gradient_bytes)");
  EXPECT_EQ(error_of(R"({"layers": [{"moe_gradient_bytes": 5}]})"),
            "plan.json: layers[0]: 5 and 0 bytes of gradients in a plan whose release is \"when_ready\"; they must be "
            "0, or the release \"planned\"");
  for (const char* number : {"1.5", "-1", "1e30", "18446744073709551615", "null", "[1]", "\"3\"", "true"}) {
    EXPECT_NE(error_of(std::string(R"({"slice_bytes": )") + number + "}").find("a whole number, at least 0"),
              std::string::npos)
        << number;
  }
  EXPECT_NE(error_of(R"({"layers": 3})").find("a list with an object for each MoE layer"), std::string::npos);
  EXPECT_NE(error_of(R"({"layers": [3]})").find("layers[0]: 3 is no object"), std::string::npos);
  EXPECT_NE(error_of(R"({"name": 3})").find("a text"), std::string::npos);
}

}  // namespace
