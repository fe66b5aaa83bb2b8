#include "launch/report/report.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>

#include "launch/report/page.h"
#include "launch/report/page_data.h"
#include "launch/report/run_record.h"
#include "launch/report/thinning.h"
#include "parallel/base/fault.h"

namespace launch::run_report {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

std::string step_line(int64_t step, double loss) {
  return parallel::concat(R"({"event":"step","step":)", step, R"(,"tokens":)", step * 1000, R"(,"loss":{"total":)",
                          loss + 0.5, R"(,"next_token":)", loss, R"(,"load_balance":0.5},)",
                          R"("gradient_norm":1.5,"learning_rate":0.001,"tokens_per_second":)", step,
                          R"(,"seconds":{"backward":0.2,"data":0.1,"checkpoint":0.3},"imbalance":1.25,"dropped":10,)",
                          R"("layers":[{"layer":3,"load":[0.5,0.25,0.25,0],"dropped":10,"entropy":1.1}]})", "\n");
}

/// An empty run folder, gone with the test.
class ReportTest : public testing::Test {
 protected:
  ReportTest() {
    folder_ =
        fs::temp_directory_path() /
        parallel::concat("report_test_", getpid(), "_", testing::UnitTest::GetInstance()->current_test_info()->name());
    fs::remove_all(folder_);
    fs::create_directories(folder_);
  }
  ~ReportTest() override { fs::remove_all(folder_); }

  void put(const std::string& name, const std::string& content) const {
    std::ofstream(folder_ / name, std::ios::binary) << content;
  }

  std::string get(const std::string& name) const {
    std::ostringstream content;
    content << std::ifstream(folder_ / name, std::ios::binary).rdbuf();
    return content.str();
  }

  /// What write_report has to say about the folder; empty where it is content.
  std::string complaint() const {
    try {
      write_report(folder_);
    } catch (const parallel::UserError& error) {
      return error.what();
    }
    return "";
  }

  fs::path folder_;
};

void expect_contains(const std::string& text, const std::string& part) {
  EXPECT_NE(text.find(part), std::string::npos) << "'" << part << "' is not in: " << text.substr(0, 400);
}

// ---- Reading. ----

TEST_F(ReportTest, ReadsEveryFieldOfAStep) {
  put("metrics.jsonl", step_line(10, 2.5));
  const RunRecord run = read_run(folder_);
  ASSERT_EQ(run.steps.size(), 1u);
  const StepRecord& step = run.steps[0];
  EXPECT_EQ(step.step, 10);
  EXPECT_EQ(step.tokens, 10000);
  EXPECT_EQ(step.loss, (NamedNumbers{{"total", 3.0}, {"next_token", 2.5}, {"load_balance", 0.5}}));
  EXPECT_EQ(step.gradient_norm, 1.5);
  EXPECT_EQ(step.learning_rate, 0.001);
  EXPECT_EQ(step.tokens_per_second, 10);
  EXPECT_EQ(step.seconds.front(), (std::pair<std::string, double>{"backward", 0.2}));
  EXPECT_EQ(step.imbalance, 1.25);
  EXPECT_EQ(step.dropped, 10);
  ASSERT_EQ(step.layers.size(), 1u);
  EXPECT_EQ(step.layers[0].layer, 3);
  EXPECT_EQ(step.layers[0].load, (std::vector<double>{0.5, 0.25, 0.25, 0}));
  EXPECT_EQ(step.layers[0].entropy, 1.1);
}

TEST_F(ReportTest, ReadsTheOtherEvents) {
  put("metrics.jsonl",
      R"({"event":"start","time":"t","build":"b","recipe_hash":"h","ranks":2,"threads":1,"model":"m","parameters":{"total":9,"active":4}}
{"event":"evaluate","step":5,"loss":2.0,"bits_per_byte":1.5,"groups":{"en":{"loss":1.9,"bits_per_byte":1.4,"tokens":7,"bytes":20}}}
{"event":"checkpoint","step":5,"seconds":0.5,"bytes":100}
{"event":"an event of a later version","step":"x"}
{"event":"end","step":6,"reason":"done"}
)");
  const RunRecord run = read_run(folder_);
  ASSERT_TRUE(run.start.has_value());
  EXPECT_EQ(run.start->parameters.active, 4);
  ASSERT_EQ(run.evaluations.size(), 1u);
  EXPECT_EQ(run.evaluations[0].groups.at(0).first, "en");
  EXPECT_EQ(run.evaluations[0].groups.at(0).second.bytes, 20);
  ASSERT_EQ(run.checkpoints.size(), 1u);
  EXPECT_EQ(run.checkpoints[0].bytes, 100);
  ASSERT_TRUE(run.end.has_value());
  EXPECT_EQ(run.end->reason, "done");
  EXPECT_EQ(run.name, folder_.filename());
}

TEST_F(ReportTest, AClassifiersGroupsAreComparedByAccuracy) {
  put("metrics.jsonl",
      R"({"event":"evaluate","step":5,"loss":0.2,"bits_per_byte":null,"accuracy":0.75,"groups":{"en":{"loss":0.1,"bits_per_byte":null,"accuracy":0.5,"tokens":4,"bytes":0}}}
)");
  const auto held_out = page_data(read_run(folder_))["held_out"];
  EXPECT_EQ(held_out["score"], "accuracy");
  EXPECT_EQ(held_out["last"]["accuracy"], 0.75);
  EXPECT_EQ(held_out["groups"][0]["points"][0][1], 0.5);
}

TEST_F(ReportTest, ShowsTheTokensOfEachFileAndTheWaitForThem) {
  put("metrics.jsonl",
      R"({"event":"step","step":1,"loss":{"total":3},"seconds":{"forward":0.2,"data_wait":0.1},"sources":{"web":3000,"books":1000}}
)");
  const auto page = page_data(read_run(folder_));
  EXPECT_EQ(page["sources"].dump(), R"([{"name":"web","tokens":3000.0},{"name":"books","tokens":1000.0}])");
  EXPECT_EQ(page["time"]["phases"][0]["name"], "data_wait") << "in the order of an update";
  put("metrics.jsonl", step_line(1, 9));
  EXPECT_TRUE(page_data(read_run(folder_))["sources"].empty());
}

TEST_F(ReportTest, TheLaterLineOfAStepWins) {
  put("metrics.jsonl", step_line(1, 9) + step_line(2, 8) + step_line(1, 5));
  const RunRecord run = read_run(folder_);
  ASSERT_EQ(run.steps.size(), 2u);
  EXPECT_EQ(run.steps[0].step, 1);
  EXPECT_EQ(run.steps[0].loss[1].second, 5);
}

TEST_F(ReportTest, AResumeDiscardsWhatWasLoggedAfterItsStep) {
  put("metrics.jsonl", step_line(1, 9) + step_line(2, 8) + step_line(3, 7) +
                           R"({"event":"end","step":3,"reason":"interrupted"})" + "\n" +
                           R"({"event":"resume","step":1})" + "\n" + step_line(4, 6));
  const RunRecord run = read_run(folder_);
  ASSERT_EQ(run.steps.size(), 2u);
  EXPECT_EQ(run.steps[1].step, 4);
  EXPECT_FALSE(run.end.has_value());
  expect_contains(page_data(run)["notes"].dump(), "Resumed at step 1");
}

TEST_F(ReportTest, SeamsAreWhereStagesBeganAndAResumeForgetsLaterOnes) {
  const auto stage = [](int64_t step, int64_t number, const std::string& name) {
    return parallel::concat(R"({"event":"stage","step":)", step, R"(,"number":)", number, R"(,"stages":3,"name":")",
                            name, R"(","updates":4,"surgery":"copy","model":"m","parameters":{"total":9,"trained":5}})",
                            "\n");
  };
  put("metrics.jsonl", stage(0, 1, "dense") + step_line(4, 3) + stage(4, 2, "mixed") + step_line(8, 2) +
                           stage(8, 3, "lost") + "{\"event\":\"resume\",\"step\":6}\n" + stage(8, 3, "last") +
                           step_line(9, 1));
  const RunRecord run = read_run(folder_);
  ASSERT_EQ(run.stages.size(), 3u);
  EXPECT_EQ(run.stages[1].name, "mixed");
  EXPECT_EQ(run.stages[2].name, "last");
  const Json data = page_data(run);
  EXPECT_EQ(data["stages"][2]["step"], 8);
  EXPECT_EQ(data["stages"][1]["trained_parameters"], 5);
  put("metrics.jsonl", step_line(1, 3));
  EXPECT_TRUE(page_data(read_run(folder_))["stages"].empty());
}

TEST_F(ReportTest, ALineCutShortByAKillIsLeftOutAndSaid) {
  const std::string whole = step_line(1, 9);
  for (const size_t length : {size_t{1}, size_t{30}, whole.size() - 2}) {
    put("metrics.jsonl", whole + step_line(2, 8).substr(0, length));
    const RunRecord run = read_run(folder_);
    EXPECT_EQ(run.steps.size(), 1u);
    EXPECT_EQ(run.cut_lines, std::vector<int64_t>{2});
    expect_contains(page_data(run)["notes"].dump(), "cut short at line 2");
  }
  put("metrics.jsonl",
      whole + step_line(2, 8).substr(0, 30) + "\n" + R"({"event":"resume","step":1})" + "\n" + step_line(2, 7));
  const RunRecord resumed = read_run(folder_);
  EXPECT_EQ(resumed.steps.size(), 2u);
  EXPECT_EQ(resumed.cut_lines, std::vector<int64_t>{2});
}

TEST_F(ReportTest, AnotherMalformedLineIsTheUsersFault) {
  const std::vector<std::pair<std::string, std::string>> cases{
      {"{\"event\":\"st\n" + step_line(2, 8), "metrics.jsonl:1: is not JSON"},
      {step_line(1, 9) + "garbage\n", "metrics.jsonl:2: is not JSON"},
      {step_line(1, 9) + "\n[1]\n", "metrics.jsonl:3: expected an object, found array"},
      {"{\"step\":1}\n", "metrics.jsonl:1: 'event' is missing"},
      {"{\"event\":\"step\"}\n", "metrics.jsonl:1: 'step' is missing"},
      {R"({"event":"step","step":-1})", "metrics.jsonl:1: 'step' must be a whole number"},
      {R"({"event":"step","step":1,"loss":{"total":"low"}})",
       "metrics.jsonl:1: 'loss.total' must be a number, found string"},
      {R"({"event":"step","step":1,"layers":[7]})", "'layers' must be a list of objects"},
      {"{\"event\":\"step\",\"step\":1,\"x\":\"\xff\"}\n", "metrics.jsonl:1: is not JSON"}};
  for (const auto& [content, expected] : cases) {
    put("metrics.jsonl", content);
    expect_contains(complaint(), expected);
    EXPECT_FALSE(fs::exists(folder_ / "report.html"));
  }
}

TEST_F(ReportTest, NoMetricsAreTheUsersFault) {
  expect_contains(complaint(), "metrics.jsonl: cannot be read");
  put("metrics.jsonl", "");
  expect_contains(complaint(), "nothing to report yet");
  put("metrics.jsonl", R"({"event":"start"})");
  expect_contains(complaint(), "nothing to report yet");
  fs::remove_all(folder_);
  expect_contains(complaint(), "no such run folder");
}

TEST_F(ReportTest, AMalformedEvaluationIsTheUsersFault) {
  put("metrics.jsonl", step_line(1, 9));
  put("evaluation.json", "{\"step\":");
  expect_contains(complaint(), "evaluation.json: is not a JSON object");
  put("evaluation.json", R"({"step":1,"routing":[{"layer":0,"experts":3,"groups":{"en":[0.5,0.5]}}]})");
  expect_contains(complaint(), "evaluation.json: 'routing.groups.en' has 2 numbers for 3 experts");
}

TEST_F(ReportTest, ANullIsAGap) {
  put("metrics.jsonl", R"({"event":"step","step":1,"loss":{"next_token":null},"gradient_norm":null})"
                       "\n" +
                           step_line(2, 8));
  const RunRecord run = read_run(folder_);
  EXPECT_TRUE(std::isnan(run.steps[0].gradient_norm));
  const Json data = page_data(run);
  EXPECT_EQ(data["losses"]["training"].dump(), "[[1.0,null],[2.0,8.0]]");
  expect_contains(data["notes"].dump(), "1 loss value is not finite");
}

// ---- Thinning. ----

TEST_F(ReportTest, LoadIsToldRelativeToAnEvenShare) {
  put("metrics.jsonl", step_line(1, 9) + step_line(2, 8));
  const Json layer = page_data(read_run(folder_))["layers"][0];
  EXPECT_EQ(layer["layer"], 3);
  EXPECT_EQ(layer["load"]["experts"], 4);
  EXPECT_EQ(layer["load"]["columns"].dump(), "[[2.0,1.0,1.0,0.0],[2.0,1.0,1.0,0.0]]");
  EXPECT_EQ(layer["load"]["first"].dump(), "[1,2]");
}

TEST_F(ReportTest, KeyNumbersAndPhases) {
  put("metrics.jsonl", step_line(1, 9) + step_line(2, 8) + step_line(4, 7));
  const Json data = page_data(read_run(folder_));
  EXPECT_EQ(data["summary"]["tokens_per_second"], 2);
  EXPECT_EQ(data["summary"]["imbalance_max"], 1.25);
  EXPECT_EQ(data["summary"]["dropped"]["count"], 30);
  EXPECT_DOUBLE_EQ(data["summary"]["dropped"]["share"].get<double>(), 30.0 / 4000);
  std::vector<std::string> phases;
  for (const Json& phase : data["time"]["phases"]) phases.push_back(phase["name"]);
  EXPECT_EQ(phases, (std::vector<std::string>{"data", "backward", "checkpoint"}));
  EXPECT_EQ(data["losses"]["training"][2].dump(), "[4.0,7.0]");
  EXPECT_EQ(data["losses"]["auxiliary"][0]["name"], "load_balance");
}

TEST_F(ReportTest, ALongRunIsThinnedAndSaid) {
  std::string metrics;
  for (int64_t step = 1; step <= 2000; ++step) metrics += step_line(step, 9.0 - 0.001 * static_cast<double>(step));
  put("metrics.jsonl", metrics);
  const Json data = page_data(read_run(folder_));
  EXPECT_LE(data["losses"]["training"].size(), kMaxPoints);
  EXPECT_LE(data["losses"]["training_mean"].size(), kMaxPoints);
  EXPECT_EQ(data["layers"][0]["load"]["columns"].size(), kMaxColumns);
  EXPECT_EQ(data["layers"][0]["load"]["last"].back(), 2000);
  expect_contains(data["notes"].dump(), "Of 2000 logged steps a curve shows at most 600 points");
}

// ---- The page. ----

TEST(Page, JsonForAScriptHasNoTagAndNoBrokenText) {
  const std::string json = json_for_script({{"name", "</script><!--<b>"}, {"recipe", "a\xff b"}});
  EXPECT_EQ(json.find('<'), std::string::npos);
  EXPECT_EQ(Json::parse(json)["name"], "</script><!--<b>");
  EXPECT_EQ(Json::parse(json)["recipe"], "a\xef\xbf\xbd b");
}

TEST(Page, FillingsAreNotSearchedForMarkers) {
  const Assets assets{.html = "{{css}}|{{data}}|{{chart_js}}|{{drawing_js}}|{{maps_js}}|{{timeline_js}}|{{page_js}}!",
                      .css = "C",
                      .chart_js = "L",
                      .drawing_js = "D",
                      .maps_js = "M",
                      .timeline_js = "T",
                      .page_js = "P"};
  EXPECT_EQ(assemble_page(assets, "{{chart_js}}"), "C|\"{{chart_js}}\"|L|D|M|T|P!");
}

TEST(Page, OurOwnFilesNameNoNetworkHost) {
  const Assets& assets = embedded_assets();
  for (const std::string_view text :
       {assets.html, assets.css, assets.drawing_js, assets.maps_js, assets.timeline_js, assets.page_js}) {
    EXPECT_GT(text.size(), 1000u);
    EXPECT_EQ(text.find("//cdn"), std::string_view::npos);
    EXPECT_EQ(text.find("://"), std::string_view::npos);
  }
  EXPECT_NE(assets.chart_js.find("Chart.js v"), std::string_view::npos);
}

TEST_F(ReportTest, WritesOneWholePage) {
  put("metrics.jsonl", step_line(1, 9));
  put("recipe.toml", "# </script>\n");
  EXPECT_EQ(complaint(), "");
  const std::string page = get("report.html");
  EXPECT_EQ(page.rfind("<!doctype html>", 0), 0u);
  EXPECT_EQ(page.rfind("{{", page.find("Chart.js v")), std::string::npos) << "a marker is left";
  expect_contains(page, "# \\u003c/script>");
  EXPECT_EQ(page.substr(page.size() - 8), "</html>\n");
  EXPECT_EQ(std::distance(fs::directory_iterator(folder_), fs::directory_iterator()), 3);
}

TEST_F(ReportTest, APlaceThatCannotBeWrittenIsTheUsersFaultAndLeavesNothing) {
  put("metrics.jsonl", step_line(1, 9));
  fs::create_directories(folder_ / "report.html" / "taken");
  expect_contains(complaint(), "report.html: cannot be written: ");
  EXPECT_EQ(std::distance(fs::directory_iterator(folder_), fs::directory_iterator()), 2);
}

}  // namespace
}  // namespace launch::run_report
