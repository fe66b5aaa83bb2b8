// defines: PromptOptions, Prompts, add_prompt_options, read_prompts: the texts that a command is to go on with
#pragma once
#include <CLI/CLI.hpp>
#include <string>
#include <vector>

namespace launch {

struct PromptOptions {
  std::vector<std::string> prompts;  // --prompt
  std::string file;                  // --prompts
  bool given() const { return !prompts.empty() || !file.empty(); }
};

struct Prompts {
  std::vector<std::string> texts;
  bool json = false;   // they came as JSON lines, and so are answered
  std::string option;  // that gave them
};

/// --prompt, which may be repeated, or --prompts FILE.
void add_prompt_options(CLI::App& command, PromptOptions& options);

/// Those of the options; where there is none, an empty one. A file holds one a line, or JSON lines with "prompt" (known
/// as prepare knows them); it may be packed, and blank lines do not count. UserError, by file and line, for a file that
/// cannot be read, is not UTF-8, holds no prompt or a line without one, and where both options were given.
Prompts read_prompts(const PromptOptions& options);

}  // namespace launch
