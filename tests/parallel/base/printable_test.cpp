#include "parallel/base/printable.h"

#include <gtest/gtest.h>

namespace parallel_tests {
namespace {

using parallel::printable;

TEST(Printable, WhatATerminalObeysIsWrittenOut) {
  EXPECT_EQ(printable("de\x1b[31m\a"), "de\\x1b[31m\\x07");
  EXPECT_EQ(printable("a\nb\tc\rd\x7F"), "a\\nb\\tc\\rd\\x7f");
  EXPECT_EQ(printable("x\xC2\x9By"), "x\\x9by") << "a control of two bytes, which starts a sequence as ESC [ does";
  EXPECT_EQ(printable("x\xE2\x80\xAEy"), "x\\u202ey") << "turns the direction";
  EXPECT_EQ(printable(std::string_view("a\0b", 3)), "a\\x00b");
}

TEST(Printable, WordsOfAllLanguagesStay) {
  for (const char* text :
       {"", "plain (text) [1]", "größer", "\xE4\xB8\xAD\xE6\x96\x87", "\xF0\x9F\x98\x80", "\xC2\xA0"}) {
    EXPECT_EQ(printable(text), text);
  }
}

TEST(Printable, BytesThatAreNoUtf8AreWrittenOut) {
  EXPECT_EQ(printable("caf\xE9!"), "caf\\xe9!");
  EXPECT_EQ(printable("\xC0\x9B"), "\\xc0\\x9b") << "overlong";
  EXPECT_EQ(printable("cut \xE2\x82"), "cut \\xe2\\x82");
  EXPECT_EQ(printable("\xED\xA0\x80"), "\\xed\\xa0\\x80") << "a surrogate";
}

}  // namespace
}  // namespace parallel_tests
