#include "parallel/base/span.h"

#include <gtest/gtest.h>

#include "parallel/base/fault.h"

namespace parallel {
namespace {

std::string span_fault(const std::string& text) {
  try {
    parse_span(text);
  } catch (const UserError& error) {
    return error.what();
  }
  return "no fault";
}

TEST(Span, ReadsEveryUnitAndScientificCounts) {
  EXPECT_EQ(parse_span("2000u"), (Span{2000, Unit::kUpdates}));
  EXPECT_EQ(parse_span("5e6t"), (Span{5000000, Unit::kTokens}));
  EXPECT_EQ(parse_span("1.5e6t"), (Span{1500000, Unit::kTokens}));
  EXPECT_EQ(parse_span("3e"), (Span{3, Unit::kEpochs}));
  EXPECT_EQ(parse_span("1e3e"), (Span{1000, Unit::kEpochs}));
  EXPECT_EQ(parse_span("0u"), (Span{0, Unit::kUpdates}));
}

TEST(Span, RefusesWhatIsNoWholeQuantityAndQuotesIt) {
  for (const char* text : {"", "u", "2000", "1.5u", "-1u", "2000 u", " 2000u", "2000x", "0x10u", "infu", "nanu",
                           "1e400t", "1e16t", "5e6T", "+5u", "2000uu", "1,000u"}) {
    const std::string fault = span_fault(text);
    EXPECT_NE(fault.find(concat("'", text, "'")), std::string::npos) << fault;
    EXPECT_NE(fault.find("2000u"), std::string::npos) << fault;
  }
}

TEST(Span, TextOfASpanReadsBackAsTheSameSpan) {
  for (const Span& span : {Span{0, Unit::kUpdates}, Span{123456789012, Unit::kTokens},
                           Span{9000000000000000, Unit::kTokens}, Span{7, Unit::kEpochs}}) {
    EXPECT_EQ(parse_span(to_string(span)), span);
  }
  EXPECT_EQ(to_string(Span{2000, Unit::kUpdates}), "2000u");
}

TEST(Span, UpdatesCoverTheSpanRoundedUp) {
  const SpanScale scale{.tokens_per_update = 512, .tokens_per_epoch = 1000};
  EXPECT_EQ(to_updates({17, Unit::kUpdates}, scale), 17);
  EXPECT_EQ(to_updates({0, Unit::kTokens}, scale), 0);
  EXPECT_EQ(to_updates({1, Unit::kTokens}, scale), 1);
  EXPECT_EQ(to_updates({512, Unit::kTokens}, scale), 1);
  EXPECT_EQ(to_updates({513, Unit::kTokens}, scale), 2);
  EXPECT_EQ(to_updates({1, Unit::kEpochs}, scale), 2);
  EXPECT_EQ(to_updates({64, Unit::kEpochs}, scale), 125);
}

}  // namespace
}  // namespace parallel
