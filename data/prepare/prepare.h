// Text -> token file: what `moetrain prepare` does.
// defines: PrepareOptions, SplitSummary, GroupSummary, AlignedSummary, PrepareSummary, prepare, to_text
#pragma once
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "data/chat/chat_template.h"
#include "data/datasets/token_corpus.h"
#include "data/datasets/token_corpus_writer.h"
#include "data/prepare/team.h"

namespace data {

struct PrepareOptions {
  std::vector<std::string>
      text;  // --text: text files, or patterns ('dir/**/*.txt'): plain, JSON lines, both also packed
  std::vector<std::string> man;  // --man: folders with manual pages, e.g. unpacked Debian packages
  std::string images;            // --images: a folder of .png files in a folder for each class; instead of all others
  // Sets of files whose lines are translations of each other, "en=train.en.gz,de=train.de.gz". Instead of text and man;
  // held out and test are whole sets, and `heldout` has no say.
  std::vector<std::string> parallel, validation, test;
  std::string output;                        // the token file to write
  Overwrite overwrite = Overwrite::kRefuse;  // what to do where the output exists
  std::string language = "text";             // group of text that does not say its own language
  std::string field = "text";                // of JSON lines: what is the text (TextFileOptions)
  TokenizerTable tokenizers = builtin_tokenizers();
  // One of them that is made, which learns from the training split what it learns, the folder or file of a model's own
  // tokenizer, or a token file whose tokenizer it shall be.
  std::string tokenizer = "sentencepiece";
  int64_t vocabulary_size = 4096;               // pieces of a sentencepiece vocabulary
  int64_t tokenizer_sample_bytes = 16ll << 20;  // text that the vocabulary is trained on, at most about so many bytes
  ChatTemplateTable chat_templates = builtin_chat_templates();
  // Of them, what conversations in JSON lines are written by; with no name they are refused.
  ChatForm chat;
  double heldout = 0.05;                                  // share of the text that is held out, 0 <= x < 1
  int64_t most_file_bytes = 2ll << 30;                    // a text file that is larger, or unpacks to more, is refused
  int64_t threads = 0;                                    // 0: one per core
  std::string mandoc = "mandoc";                          // renders manual pages; looked up in PATH
  std::function<void(const std::string&)> progress = {};  // called with a sentence as each phase begins
  std::function<void(const PrepareProgress&)> advance = {};  // called again and again in a phase that takes long
  // From so much text on, and in a team always, finished parts are kept in the folder OUTPUT.parts until the output is
  // whole, so that what is stopped goes on from there.
  int64_t parts_from_bytes = 32 << 20;
  int64_t stretch_bytes = 2 << 20;  // of text that is encoded as one part; about a second of work
};

struct SplitSummary {
  int64_t documents = 0;
  int64_t tokens = 0;  // end_of_text included
  int64_t bytes = 0;   // of text
};

struct GroupSummary {
  std::string name;
  SplitSummary train;
  SplitSummary heldout;
  SplitSummary test;
};

/// Of parallel text. A row is a line of a set: a sentence and its translations.
struct AlignedSummary {
  int64_t train_rows = 0;
  int64_t heldout_rows = 0;
  int64_t test_rows = 0;
  int64_t empty_lines = 0;  // of training: the row goes on without that language
  int64_t short_rows = 0;   // of training, left out: fewer than two sentences
  int64_t empty_kept = 0;   // empty lines of held out and test, which stay as they are
};

struct PrepareSummary {
  std::string output;
  std::string tokenizer;
  std::string tokenizer_hash;
  int64_t vocabulary_size = 0;
  std::vector<GroupSummary> groups;  // sorted by name
  std::optional<AlignedSummary> aligned;
  int64_t duplicates = 0;          // documents left out because another one has the same text
  int64_t near_copies = 0;         // documents that go where another one with the same words goes
  int64_t empty = 0;               // documents without a visible character, left out
  int64_t unanswered = 0;          // conversations left out: the assistant says nothing in them
  int64_t symbolic_links = 0;      // manual pages left out: other names of a page
  int64_t stubs = 0;               // manual pages left out: ".so otherpage"
  int64_t unreadable = 0;          // manual pages left out: the renderer failed
  int64_t other_files = 0;         // left out: files in the folders of manual pages that are none
  int64_t boilerplate_lines = 0;   // lines of manual pages left out because many pages share them
  std::vector<std::string> notes;  // sentences about what else a user should know
};

/// Reads all sources, leaves out empty documents and copies, splits (choose_heldout), trains the tokenizer on the
/// training split, and writes the token file. Of parallel text each sentence is a document, no copy is left out, and
/// the tokenizer, which all languages share, has a control piece "<2language>" for each. The same options and files
/// give the same bytes. All text is held in memory. UserError for whatever is wrong with the input or the output; then
/// no output is left. Collective over the team: the same bytes as alone; plain text is read and encoded by all, the
/// rest by the first one, who alone gets the summary.
PrepareSummary prepare(const PrepareOptions& options, const PrepareTeam& team = {});

/// A table of groups and splits and what was left out, for people.
std::string to_text(const PrepareSummary& summary);

}  // namespace data
