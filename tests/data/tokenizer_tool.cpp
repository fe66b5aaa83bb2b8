// Encodes texts for tests/figures/tokenizers: tokenizer_tool FOLDER_OR_FILE. Input: "BYTES:" and that many bytes for
// each text. Output for each text: its tokens as text, its tokens parsed, the latter framed, and "BYTES:" and the text
// that decoding the parsed ones gives, a line each; at the end the encoded and then the decoded megabytes a second of
// one thread. What the user would be told of a bad tokenizer is its only line, and it exits with 1.
#include <chrono>
#include <cstdio>
#include <iostream>
#include <string>
#include <vector>

#include "data/tokenizers/model_tokenizer.h"
#include "parallel/base/fault.h"

namespace {

std::vector<std::string> read_texts(std::istream& input) {
  std::vector<std::string> texts;
  for (size_t bytes = 0; input >> bytes;) {
    parallel::check_internal(input.get() == ':', "no colon after a text's length");
    std::string text(bytes, '\0');
    input.read(text.data(), static_cast<std::streamsize>(bytes));
    parallel::check_internal(!input.fail(), "the input ends within a text");
    texts.push_back(std::move(text));
  }
  return texts;
}

void print_tokens(const std::vector<int32_t>& tokens) {
  for (const int32_t token : tokens) std::printf("%d ", token);
  std::printf("\n");
}

template <class Work>
double megabytes_a_second(const std::vector<std::string>& texts, const Work& work) {
  size_t bytes = 0;
  for (const std::string& text : texts) bytes += text.size();
  const auto started = std::chrono::steady_clock::now();
  for (size_t i = 0; i < texts.size(); ++i) work(i);
  return static_cast<double>(bytes) * 1e-6 /
         std::chrono::duration<double>(std::chrono::steady_clock::now() - started).count();
}

void encode_texts(const std::string& path) {
  const auto tokenizer = data::read_model_tokenizer(path);
  const std::vector<std::string> texts = read_texts(std::cin);
  std::vector<std::vector<int32_t>> encoded(texts.size());
  const double encoding = megabytes_a_second(texts, [&](size_t i) { encoded[i] = tokenizer->encode(texts[i]); });
  std::vector<std::string> decoded(texts.size());
  const double decoding = megabytes_a_second(texts, [&](size_t i) { decoded[i] = tokenizer->decode(encoded[i]); });
  for (size_t i = 0; i < texts.size(); ++i) {
    const std::vector<int32_t> parsed = tokenizer->encode(texts[i], data::Specials::kParsed);
    print_tokens(encoded[i]);
    print_tokens(parsed);
    print_tokens(tokenizer->framed(parsed));
    const std::string text = tokenizer->decode(parsed);
    std::printf("%zu:", text.size());
    std::fwrite(text.data(), 1, text.size(), stdout);
    std::printf("\n");
  }
  std::printf("%.3f %.3f\n", encoding, decoding);
}

}  // namespace

int main(int count, char** arguments) {
  std::ios::sync_with_stdio(false);
  if (count != 2) return 2;
  try {
    encode_texts(arguments[1]);
  } catch (const parallel::UserError& error) {
    std::printf("%s\n", error.what());
    return 1;
  }
}
