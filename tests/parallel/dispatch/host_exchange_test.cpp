#include "parallel/dispatch/host_exchange.h"

#include <gtest/gtest.h>

#include <set>

#include "parallel/base/fault.h"
#include "parallel/comm/counting_communicator.h"
#include "tests/parallel/dispatch/pipeline_run.h"

namespace parallel {
namespace {

/// Hosts that the ranks of one machine are said to be on: one each, in pairs, of uneven size, and taking turns.
std::vector<std::vector<int64_t>> host_maps(int64_t ranks) {
  std::vector<int64_t> alone, pairs, uneven, turns;
  for (int64_t r = 0; r < ranks; ++r) {
    alone.push_back(r);
    pairs.push_back(r / 2);
    uneven.push_back(r == 0 ? 5 : 3);
    turns.push_back(r % 2);
  }
  return {alone, pairs, uneven, turns};
}

std::string text(const std::vector<int64_t>& hosts) {
  std::string words = "hosts";
  for (const int64_t host : hosts) words += " " + std::to_string(host);
  return words;
}

class HostExchangeTest : public PipelineRun {
 protected:
  ExpertGroup group(MeshConfig config, const char* dispatch, const std::vector<int64_t>& hosts) const {
    config.dispatch = dispatch;
    return {std::make_shared<const Mesh>(config, world_->duplicate(), world_->duplicate(), hosts),
            expert_map(config, kAllExperts)};
  }

  at::Tensor choices(const Choice& choice) const {
    const int64_t rank = world_->rank(), tokens = choice.tokens(rank);
    at::Tensor expert_TK = at::empty({tokens, 2}, at::kLong);
    for (int64_t t = 0; t < tokens; ++t) {
      for (int64_t j = 0; j < 2; ++j) expert_TK[t][j] = choice.expert(10 * rank + t, j);
    }
    return expert_TK;
  }
};

TEST_F(HostExchangeTest, RowsLieAsTheFlatExchangeLeavesThemBitForBit) {
  int64_t by_host = 0, passes = 0;
  for (const MeshConfig& config : foldings(world_->size())) {
    if (config.expert == 1) continue;
    for (const std::vector<int64_t>& hosts : host_maps(world_->size())) {
      const ExpertGroup flat = group(config, "flat", hosts), hierarchical = group(config, "hierarchical", hosts);
      for (const Choice& choice : kChoices) {
        const std::string what = concat(choice.name, ", ", flat.mesh->shape().describe(), ", bound ",
                                        config.receive_bound, ", ", text(hosts));
        const ChoiceOrder order(choices(choice), kAllExperts);
        const ExpertExchange expected(flat, order), exchange(hierarchical, order);
        const Permutation& own = exchange.sorted();
        EXPECT_FALSE(expected.sends_copies_once()) << what;
        EXPECT_EQ(exchange.sends_copies_once(), hierarchical.mesh->dispatches_by_host()) << what;
        by_host += exchange.sends_copies_once();
        passes = std::max(passes, exchange.passes());
        const at::Tensor tokens_TD =
            random_tensor("bits" + std::to_string(world_->rank()), {choice.tokens(world_->rank()), kModelWidth});
        ASSERT_EQ(exchange.passes(), expected.passes()) << what;
        for (const int64_t chunks : {1, 3}) {
          const RowChunks cut = exchange.cut(chunks), same_cut = expected.cut(chunks);
          const Permutation wire = in_order(own, cut.wire_R);
          const at::ScalarType type = chunks == 1 ? at::kDouble : at::kBFloat16;
          const at::Tensor rows_RD = gather_rows(tokens_TD.to(type), wire);
          const at::Tensor each_R1 = at::arange(own.rows(), at::kDouble).unsqueeze(1).to(type);
          for (size_t pass = 0; pass < cut.passes.size(); ++pass) {
            for (size_t c = 0; c < cut.passes[pass].chunks.size(); ++c) {
              const RowChunk &chunk = cut.passes[pass].chunks[c], &same = same_cut.passes[pass].chunks[c];
              EXPECT_TRUE(exchange.dispatch(rows_RD, cut, chunk)
                              .take()
                              .equal(expected.dispatch(rows_RD, same_cut, same).take()))
                  << what;
              EXPECT_TRUE(exchange.dispatch_distinct(each_R1, chunk)
                              .take()
                              .equal(expected.dispatch_distinct(each_R1, same).take()))
                  << what;
            }
          }
        }
      }
    }
  }
  if (world_->size() > 1) {
    EXPECT_GT(by_host, 0);
    EXPECT_GT(passes, 1);
  }
}

TEST_F(HostExchangeTest, ThePipelineGivesTheFlatOnesBits) {
  for (const MeshConfig& config : foldings(world_->size())) {
    if (config.expert == 1) continue;
    for (const std::vector<int64_t>& hosts : host_maps(world_->size())) {
      const ExpertGroup flat = group(config, "flat", hosts), hierarchical = group(config, "hierarchical", hosts);
      for (const Choice& choice : kChoices) {
        for (const ExpertGroup& each : {flat, hierarchical}) {
          each.mesh->follow({.overlap = true, .layers = {{.forward_chunks = 2, .backward_chunks = 3}}});
        }
        const PipelineResult expected = run(choice, flat, own_weights(flat)),
                             result = run(choice, hierarchical, own_weights(hierarchical));
        const std::string what = concat(choice.name, ", ", flat.mesh->shape().describe(), ", ", text(hosts));
        EXPECT_TRUE(result.out_TD.equal(expected.out_TD)) << what;
        for (size_t i = 0; i < expected.gradients.size(); ++i) {
          EXPECT_TRUE(result.gradients[i].equal(expected.gradients[i])) << what << ", gradient " << i;
        }
      }
    }
  }
}

/// What is handed in for other ranks, over the whole axis and inside hosts, in one pass; counted against the choices.
TEST_F(HostExchangeTest, EachTokenCrossesOnceToEachOtherHost) {
  const int64_t ranks = world_->size(), rank = world_->rank();
  const MeshConfig config{.expert = ranks, .receive_bound = 100.0, .dispatch = "hierarchical"};
  if (ranks == 1) {  // there is no axis that anything could cross
    EXPECT_THROW(mesh_shape(config, ranks), UserError);
    return;
  }
  const std::vector<int64_t> hosts = host_maps(ranks)[ranks == 2 ? 0 : 1];
  const auto ledger = std::make_shared<TrafficLedger>();
  const auto counted = std::make_shared<CountingCommunicator>(world_->duplicate(), "world", ledger);
  const ExpertGroup all{std::make_shared<const Mesh>(config, counted, world_->duplicate(), hosts),
                        expert_map(config, kAllExperts)};
  ASSERT_TRUE(all.mesh->dispatches_by_host());
  // 6 tokens; token t visits 4 neighbouring experts from 2 t + rank on.
  at::Tensor expert_TK = at::empty({6, 4}, at::kLong);
  int64_t copies = 0;
  std::set<std::pair<int64_t, int64_t>> crossings;  // (token, host)
  for (int64_t t = 0; t < 6; ++t) {
    for (int64_t j = 0; j < 4; ++j) {
      const int64_t expert = (2 * t + rank + j) % kAllExperts,
                    host = hosts[static_cast<size_t>(expert * ranks / kAllExperts)];
      expert_TK[t][j] = expert;
      if (host == hosts[static_cast<size_t>(rank)]) continue;
      ++copies;
      crossings.insert({t, host});
    }
  }
  const ChoiceOrder order(expert_TK, kAllExperts);
  ledger->reset();
  const ExpertExchange exchange(all, order);
  const Permutation& own = exchange.sorted();
  const RowChunks cut = exchange.cut(1);
  EXPECT_EQ(ledger->by_operation("expert").at("all_to_all").bytes, 4 * copies);
  ledger->reset();
  exchange.dispatch(gather_rows(random_tensor("cross", {6, kModelWidth}), own), cut, cut.passes[0].chunks[0]).wait();
  const auto crossed = static_cast<int64_t>(crossings.size());
  EXPECT_LT(crossed, copies);
  EXPECT_EQ(ledger->by_operation("expert").at("all_to_all").bytes, crossed * kModelWidth * 8);
}

}  // namespace
}  // namespace parallel
