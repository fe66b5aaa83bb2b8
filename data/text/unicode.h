// What Unicode says of characters and texts, by ICU.
// defines: NormalForm, normalize, lowercase_characters, is_white_space, is_numeric, is_punctuation, is_mark,
// is_word_character
#pragma once
#include <string>
#include <string_view>

namespace data {

// As the tables of the Python package `tokenizers` have it, so that its ids come out: each of those tables is of a
// Unicode version of its own, and a younger character is to it what an unassigned one is (unicode.cpp).

enum class NormalForm { kNfc, kNfd, kNfkc, kNfkd };

/// @pre of all here: valid UTF-8
std::string normalize(std::string_view text, NormalForm form);

/// Character by character, as Rust's char::to_lowercase: no word's end makes another sigma.
std::string lowercase_characters(std::string_view text);

bool is_white_space(char32_t c);     // White_Space
bool is_numeric(char32_t c);         // Nd, Nl, No
bool is_punctuation(char32_t c);     // P*, and ASCII's symbols
bool is_mark(char32_t c);            // M*
bool is_word_character(char32_t c);  // Alphabetic, M*, Nd, Pc, Join_Control

}  // namespace data
