#include "launch/recipe/reader.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "tests/launch/recipe/recipe_support.h"

namespace launch {
namespace {

using parallel::concat;
using parallel::Span;
using parallel::Unit;

constexpr const char* kSpanWanted =
    "; wanted a count with a unit: \"2000u\" (updates), \"5e6t\" (tokens) or \"3e\" (epochs)";

class RecipeFile : public testing::Test {
 protected:
  RecipeFile() {
    const auto* test = testing::UnitTest::GetInstance()->current_test_info();
    folder_ =
        std::filesystem::temp_directory_path() / (std::string("moetrain_recipe_") + test->name() + "_" +
                                                  std::to_string(testing::UnitTest::GetInstance()->random_seed()) +
                                                  "_" + std::to_string(reinterpret_cast<uintptr_t>(this)));
    std::filesystem::create_directories(folder_);
  }
  ~RecipeFile() override { std::filesystem::remove_all(folder_); }

  std::filesystem::path write(const std::string& text) const {
    const std::filesystem::path file = folder_ / "recipe.toml";
    std::ofstream(file, std::ios::binary) << text;
    return file;
  }
  static std::string fault(const std::filesystem::path& file) {
    return fault_of([&] { read_recipe(file, {}); });
  }

  std::filesystem::path folder_;
};

TEST(Reader, EmptyTextIsTheDefaults) { EXPECT_EQ(values_of(parse_recipe("", "recipe.toml")), values_of(Recipe{})); }

TEST(Reader, EveryTypeIsRead) {
  const Recipe recipe = parse_recipe(
      "\xEF\xBB\xBF[moe]\r\ntop_k = 4\nlosses.load_balance = 1\nshared_gate = false\n"
      "[run]\ndevice = 'cuda'\n[train]\nlength = \"5e6t\"\n[optimizer]\nlearning_rate = 1e-4\n",
      "recipe.toml");
  EXPECT_EQ(recipe.moe.top_k, 4);
  EXPECT_EQ(recipe.moe.losses.at("load_balance"), 1.0);
  EXPECT_FALSE(recipe.moe.shared_gate);
  EXPECT_EQ(recipe.run.device, launch::Device::kCuda);
  EXPECT_EQ(recipe.train.length, (Span{5'000'000, Unit::kTokens}));
  EXPECT_EQ(recipe.optimizer.learning_rate, 1e-4);
}

TEST(Reader, DottedAndInlineSectionsAreSections) {
  EXPECT_EQ(parse_recipe("moe.top_k = 3", "recipe.toml").moe.top_k, 3);
  EXPECT_EQ(parse_recipe("moe = {top_k = 3}", "recipe.toml").moe.top_k, 3);
}

TEST(Reader, UnknownKeyOffersTheNearestOrAll) {
  EXPECT_EQ(recipe_fault("# first\n[moe]\ntop_kk = 2\n"),
            "recipe.toml:3: unknown key 'moe.top_kk'; did you mean 'top_k'?");
  EXPECT_EQ(recipe_fault("[data]\nxyzzy_xyzzy = 2\n"),
            "recipe.toml:2: unknown key 'data.xyzzy_xyzzy'; known keys of [data]: file, sequence_length, packing, "
            "directions, longest, rows, temperature");
  EXPECT_EQ(recipe_fault("[model]\ntop_k = 2\n"), "recipe.toml:2: unknown key 'model.top_k'; 'top_k' is a key of: moe");
  EXPECT_EQ(recipe_fault("[moe]\n\"\" = 2\n").substr(0, 35), "recipe.toml:2: unknown key 'moe.'; ");
}

TEST(Reader, UnknownSectionOffersTheNearestOrAll) {
  EXPECT_EQ(recipe_fault("\n[mo]\n"), "recipe.toml:2: unknown section 'mo'; did you mean 'moe'?");
  EXPECT_EQ(recipe_fault("[xyzzy_xyzzy]\n"),
            "recipe.toml:1: unknown section 'xyzzy_xyzzy'; known sections: run, mesh, overlap, data, tasks, model, "
            "attention, "
            "moe, lora, "
            "objective, train, "
            "optimizer, "
            "schedule, checkpoint, evaluate");
}

TEST(Reader, KeysOutsideOfSectionsAreRefused) {
  EXPECT_EQ(recipe_fault("top_k = 2"), "recipe.toml:1: key 'top_k' stands outside of any section; it is a key of: moe");
  EXPECT_EQ(recipe_fault("every = 2"),
            "recipe.toml:1: key 'every' stands outside of any section; it is a key of: checkpoint, evaluate");
  EXPECT_EQ(recipe_fault("moe = 2"),
            "recipe.toml:1: 'moe' is a section; wanted [moe] and its keys below, found integer 2");
  EXPECT_EQ(recipe_fault("[[moe]]\n"),
            "recipe.toml:1: 'moe' is a section; wanted [moe] and its keys below, found an array");
}

TEST(Reader, FirstFaultOfTheFileIsNamed) {
  EXPECT_EQ(recipe_fault("[train]\nzz_zz_zz = 1\n[moe]\naa_aa_aa = 1\n").substr(0, 14), "recipe.toml:2:");
  EXPECT_EQ(recipe_fault("[moe]\ntop_k = 0\nexperts = 0\n").substr(0, 14), "recipe.toml:2:");
}

TEST(Reader, WrongTypeNamesFoundAndWanted) {
  const std::string is = "recipe.toml:2: moe.top_k is ";
  EXPECT_EQ(recipe_fault("[moe]\ntop_k = \"two\""), is + "text \"two\"; wanted an integer such as 2");
  EXPECT_EQ(recipe_fault("[moe]\ntop_k = true"), is + "boolean true; wanted an integer such as 2");
  EXPECT_EQ(recipe_fault("[moe]\ntop_k = [1, 2]"), is + "array [1, 2]; wanted an integer such as 2");
  EXPECT_EQ(recipe_fault("[moe]\ntop_k = {a = 1}"), is + "a table; wanted an integer such as 2");
  EXPECT_EQ(recipe_fault("[moe]\ntop_k = 1979-05-27"), is + "date 1979-05-27; wanted an integer such as 2");
  EXPECT_EQ(recipe_fault("[model]\ntie_embeddings = 1"),
            "recipe.toml:2: model.tie_embeddings is integer 1; wanted true or false");
  EXPECT_EQ(recipe_fault("[run]\ndevice = 3"),
            "recipe.toml:2: run.device is integer 3; wanted text in quotes such as \"cpu\"");
  EXPECT_EQ(recipe_fault("[data]\nfile = 3"),
            "recipe.toml:2: data.file is integer 3; wanted text in quotes such as \"...\"");
  EXPECT_EQ(recipe_fault("[optimizer]\nepsilon = \"small\""),
            "recipe.toml:2: optimizer.epsilon is text \"small\"; wanted a number such as 1e-08");
}

TEST(Reader, AWeightIsANumberOrHasAWindow) {
  const auto read = [](const std::string& value) {
    return parse_recipe("[moe.losses]\nload_balance = " + value, "recipe.toml").moe.losses.at("load_balance");
  };
  EXPECT_EQ(read("0.5"), parallel::Weight(0.5));
  EXPECT_EQ(read("2"), parallel::Weight(2));
  EXPECT_EQ(read("\"0.5\""), parallel::Weight(0.5));
  EXPECT_EQ(read("\"0.5 from 10u until 2e3u\""), parallel::Weight(0.5, 10, 2000));
  EXPECT_EQ(parse_recipe("", "recipe.toml", {"moe.losses.load_balance=0.5 until 7u"}).moe.losses.at("load_balance"),
            parallel::Weight(0.5, 0, 7));
  const std::string is = "recipe.toml:2: moe.losses.load_balance ";
  const std::string wanted =
      "; wanted a number such as 0.01, or with a window of updates \"0.01 from 100u until 2000u\"";
  EXPECT_EQ(recipe_fault("[moe.losses]\nload_balance = \"0.5 from 3t\""), is + "is text \"0.5 from 3t\"" + wanted);
  EXPECT_EQ(recipe_fault("[moe.losses]\nload_balance = \"0.5 from 3u until 3u\""),
            is + "is text \"0.5 from 3u until 3u\"" + wanted);
  EXPECT_EQ(recipe_fault("[moe.losses]\nload_balance = true"), is + "is boolean true" + wanted);
  EXPECT_EQ(recipe_fault("[moe.losses]\nload_balance = inf"), is + "is float inf" + wanted);
  EXPECT_EQ(recipe_fault("[moe.losses]\nload_balance = -1"), is + "= -1 is out of range; legal: at least 0");
  EXPECT_EQ(recipe_fault("[moe.losses]\nload_balance = \"-1 from 3u\""),
            is + "= \"-1 from 3u\" is out of range; legal: at least 0");
}

TEST(Reader, WholeFloatIsNoInteger) {
  EXPECT_EQ(recipe_fault("[moe]\ntop_k = 2.0"),
            "recipe.toml:2: moe.top_k is float 2.0; wanted an integer: write 2 without a point or exponent");
  EXPECT_EQ(recipe_fault("[train]\nglobal_batch = 1e3"),
            "recipe.toml:2: train.global_batch is float 1000.0; wanted an integer: write 1000 without a point or "
            "exponent");
  EXPECT_EQ(recipe_fault("[moe]\ntop_k = 2.5"), "recipe.toml:2: moe.top_k is float 2.5; wanted an integer such as 2");
  EXPECT_EQ(recipe_fault("[moe]\ntop_k = nan"), "recipe.toml:2: moe.top_k is float nan; wanted an integer such as 2");
  EXPECT_EQ(recipe_fault("[moe]\ntop_k = 1e300"),
            "recipe.toml:2: moe.top_k is float 1e+300; wanted an integer such as 2");
}

TEST(Reader, OutOfRangeNamesTheLegalRange) {
  EXPECT_EQ(recipe_fault("[moe]\ntop_k = 0"), "recipe.toml:2: moe.top_k = 0 is out of range; legal: 1 to 1024");
  EXPECT_EQ(recipe_fault("[run]\nseed = -1"), "recipe.toml:2: run.seed = -1 is out of range; legal: at least 0");
  EXPECT_EQ(recipe_fault("[optimizer]\nlearning_rate = 0"),
            "recipe.toml:2: optimizer.learning_rate = 0 is out of range; legal: above 0");
  EXPECT_EQ(recipe_fault("[schedule]\nfinal_scale = 1.5"),
            "recipe.toml:2: schedule.final_scale = 1.5 is out of range; legal: 0 to 1");
  EXPECT_EQ(recipe_fault("[optimizer]\nclip_norm = inf"),
            "recipe.toml:2: optimizer.clip_norm is float inf; wanted a finite number such as 1.0");
  EXPECT_EQ(recipe_fault("[optimizer]\nclip_norm = nan"),
            "recipe.toml:2: optimizer.clip_norm is float nan; wanted a finite number such as 1.0");
}

TEST(Reader, UnknownNameListsTheLegalOnes) {
  EXPECT_EQ(recipe_fault("[run]\ndevice = \"gpu\""),
            "recipe.toml:2: run.device = \"gpu\" is unknown; legal: cpu, cuda");
}

TEST(Reader, SpanNeedsAUnit) {
  EXPECT_EQ(recipe_fault("[train]\nlength = 1000"),
            std::string("recipe.toml:2: train.length is integer 1000") + kSpanWanted);
  EXPECT_EQ(recipe_fault("[train]\nlength = \"1000\""),
            std::string("recipe.toml:2: train.length is text \"1000\"") + kSpanWanted);
  EXPECT_EQ(recipe_fault("[train]\nlength = \"-3u\""),
            std::string("recipe.toml:2: train.length is text \"-3u\"") + kSpanWanted);
}

TEST(Reader, SyntaxFaultHasLineAndColumn) {
  EXPECT_EQ(recipe_fault("[moe]\ntop_k = \n"),
            "recipe.toml:2:9: Error while parsing key-value pair: expected value, saw '\\n'");
  EXPECT_EQ(recipe_fault("[moe]\ntop_k = 99999999999999999999\n").substr(0, 14), "recipe.toml:2:");
  for (const char* header : {"[=]", "[ \n", "[[ # moe\n]]", "[.moe]", "\t[\v"}) {
    EXPECT_EQ(recipe_fault(concat("\n", header)), "recipe.toml:2: '[' without a name");
  }
  EXPECT_EQ(recipe_fault("[run]\nfolder = ä"), "recipe.toml:2: a character outside of quotes is not ASCII");
  EXPECT_EQ(recipe_fault("[run]\nfolder = \"\"\"\n[=]ä\\\"\"\"\"\"\" # ä [=]\n"), "no fault");
  EXPECT_NE(recipe_fault("[run]\nfolder = \"\xFF\"\n").find("utf-8"), std::string::npos);
}

TEST(Reader, AssertionsOfTheParserAreFaults) {
  for (const char* value : {"07:", "07:32:", "1979-05-27T", "1979-05-27 07", "07:3", "1979-", "1979-05-27T07:32:00+"}) {
    EXPECT_EQ(recipe_fault(concat("[moe]\ntop_k = ", value, "x")).substr(0, 12), "recipe.toml:") << value;
    EXPECT_EQ(recipe_fault("", {concat("moe.top_k=", value, "x")}).substr(0, 16), "--set moe.top_k=") << value;
  }
}

TEST(Reader, KeyOrSectionSetTwiceIsRefused) {
  EXPECT_EQ(recipe_fault("[moe]\ntop_k = 1\ntop_k = 2\n"), "recipe.toml:3:9: 'top_k' is set twice; keep one of them");
  EXPECT_EQ(recipe_fault("[moe]\n[run]\n[moe]\n"), "recipe.toml:3:1: 'moe' is set twice; keep one of them");
}

TEST(Reader, HugeOrDeepTextIsRefused) {
  EXPECT_EQ(recipe_fault(std::string((1 << 20) + 1, '#')),
            "recipe.toml: is larger than 1048576 bytes; is it a recipe?");
  std::string deep = "a";
  for (int i = 0; i < 100'000; ++i) deep += ".a";
  EXPECT_EQ(recipe_fault(deep + " = 1"), "recipe.toml:1: more than 2000 dots outside of quotes");
  EXPECT_NE(recipe_fault("a = " + std::string(100'000, '[')), "no fault");
  EXPECT_LT(recipe_fault("[run]\ndevice = \"" + std::string(1000, 'x') + "\"").size(), 200);
}

TEST(Override, IsReadAsTomlOrAsABareWord) {
  const Recipe recipe =
      parse_recipe("[moe]\ntop_k = 4\n", "recipe.toml",
                   {"moe.top_k=9", "run.folder=runs/x", "train.length=5e6t", "schedule.warmup=\"3e\"",
                    "model.tie_embeddings=false", " moe.hidden = 64 ", "optimizer.epsilon=1e-9", "moe.layers=1,3"});
  EXPECT_EQ(recipe.moe.top_k, 9);
  EXPECT_EQ(recipe.run.folder, "runs/x");
  EXPECT_EQ(recipe.train.length, (Span{5'000'000, Unit::kTokens}));
  EXPECT_EQ(recipe.schedule.warmup, (Span{3, Unit::kEpochs}));
  EXPECT_FALSE(recipe.model.tie_embeddings);
  EXPECT_EQ(recipe.moe.hidden, 64);
  EXPECT_EQ(recipe.optimizer.epsilon, 1e-9);
  EXPECT_EQ(recipe.moe.layers, "1,3");
}

TEST(Override, TextNeedsNoQuotes) {
  EXPECT_EQ(parse_recipe("", "recipe.toml", {"run.folder=2024"}).run.folder, "2024");
  EXPECT_EQ(parse_recipe("", "recipe.toml", {"moe.layers=1"}).moe.layers, "1");
  EXPECT_EQ(parse_recipe("", "recipe.toml", {"run.folder=ä/b"}).run.folder, "ä/b");
  EXPECT_EQ(parse_recipe("", "recipe.toml", {"run.folder=a=b"}).run.folder, "a=b");
  EXPECT_EQ(parse_recipe("", "recipe.toml", {"run.folder=a\nseed = 3"}).run.folder, "a\nseed = 3");
  EXPECT_EQ(parse_recipe("", "recipe.toml", {"run.folder="}).run.folder, "");
}

TEST(Override, LastOneHolds) {
  EXPECT_EQ(parse_recipe("", "recipe.toml", {"moe.top_k=3", "moe.top_k=5"}).moe.top_k, 5);
}

TEST(Override, FaultNamesTheOverride) {
  EXPECT_EQ(recipe_fault("", {"moe.top_k=0"}), "--set moe.top_k=0: moe.top_k = 0 is out of range; legal: 1 to 1024");
  EXPECT_EQ(recipe_fault("", {"moe.top_kk=9"}), "--set moe.top_kk=9: unknown key 'moe.top_kk'; did you mean 'top_k'?");
  EXPECT_EQ(recipe_fault("", {"mo.top_k=9"}), "--set mo.top_k=9: unknown section 'mo'; did you mean 'moe'?");
  EXPECT_EQ(recipe_fault("", {"moe.top_k=two"}),
            "--set moe.top_k=two: moe.top_k is text \"two\"; wanted an integer such as 2");
  EXPECT_EQ(recipe_fault("", {"train.length=100"}),
            std::string("--set train.length=100: train.length is integer 100") + kSpanWanted);
  EXPECT_EQ(recipe_fault("", {"moe.top_k"}), "--set moe.top_k: wanted section.key=value, such as --set moe.top_k=2");
  EXPECT_EQ(recipe_fault("", {"moe=1"}), "--set moe=1: wanted section.key=value, such as --set moe.top_k=2");
  EXPECT_EQ(recipe_fault("", {"run.folder=\"x"}), "--set run.folder=\"x: begins with \" but is no TOML value");
  EXPECT_EQ(recipe_fault("", {"run.folder=\xFF"}), "--set run.folder=\xFF: the value is not UTF-8 text");
}

struct ListConfig {
  std::vector<int64_t> widths = {1, 2};
  Span pause{1, Unit::kUpdates};
  double share = 0.5;
};

template <class Visitor>
void visit(ListConfig& config, Visitor& field) {
  field("widths", config.widths, parallel::at_least(1), "of layers");
  field("pause", config.pause, parallel::above(0), "between things");
  field("share", config.share, parallel::half_open(0, 1), "of things");
}

TEST(SetField, ServesConfigsOutsideOfTheRecipe) {
  ListConfig config;
  const std::vector<RecipeField> fields = fields_of_section("list", config);
  const auto fault = [&](size_t index, const char* value) {
    return fault_of([&] { set_field(fields[index], value, "here"); });
  };
  set_field(fields[0], "[3, 4, 5]", "here");
  EXPECT_EQ(config.widths, (std::vector<int64_t>{3, 4, 5}));
  EXPECT_EQ(fault(0, "[3, 0]"), "here: list.widths = [3, 0] is out of range; legal: at least 1");
  EXPECT_EQ(fault(0, "[3, 0.5]"), "here: list.widths is an array; wanted a list of integers such as [3, 4, 5]");
  EXPECT_EQ(fault(0, "7"), "here: list.widths is integer 7; wanted a list of integers such as [3, 4, 5]");
  EXPECT_EQ(fault(1, "0u"), "here: list.pause = \"0u\" is out of range; legal: above 0");
  EXPECT_EQ(fault(2, "1.0"), "here: list.share = 1.0 is out of range; legal: 0 to below 1");
  EXPECT_EQ(config.widths, (std::vector<int64_t>{3, 4, 5})) << "a refused value must change nothing";
}

TEST_F(RecipeFile, IsReadAndNamedByItsPath) {
  const std::filesystem::path file = write("[moe]\ntop_k = 3\n");
  EXPECT_EQ(read_recipe(file, {"moe.hidden=64"}).moe.top_k, 3);
  EXPECT_EQ(fault(write("[moe]\ntop_k = 0\n")), file.string() + ":2: moe.top_k = 0 is out of range; legal: 1 to 1024");
}

TEST_F(RecipeFile, ThatCannotBeReadIsOneMessage) {
  const std::string missing = (folder_ / "none.toml").string();
  EXPECT_EQ(fault(missing), missing + ": cannot be opened: No such file or directory");
  EXPECT_EQ(fault(folder_), folder_.string() + ": is a folder; wanted a TOML file");
  const std::string below_file = write("").string() + "/x";
  EXPECT_EQ(fault(below_file), below_file + ": cannot be opened: Not a directory");
  EXPECT_EQ(fault("/proc/self/mem"), "/proc/self/mem: cannot be read: Input/output error");
  const std::string long_name(5000, 'x');
  EXPECT_EQ(fault(long_name), long_name + ": cannot be opened: File name too long");
}

TEST_F(RecipeFile, AboveOneMebibyteIsRefused) {
  EXPECT_EQ(fault(write(std::string(1 << 20, '#'))), "no fault");
  const std::filesystem::path file = write(std::string((1 << 20) + 1, '#'));
  EXPECT_EQ(fault(file), file.string() + ": is larger than 1048576 bytes; is it a recipe?");
}

}  // namespace
}  // namespace launch
