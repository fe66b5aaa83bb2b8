// defines: ManOptions, ManPages, read_man_pages
#pragma once
#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "data/sources/document.h"

namespace data {

struct ManOptions {
  int64_t threads = 0;            // children at a time; 0: one per core
  std::string mandoc = "mandoc";  // the renderer, looked up in PATH
};

struct ManPages {
  std::vector<SourceDocument> documents;  // sorted by path; key "NAME.S", group = language
  int64_t symbolic_links = 0;             // not followed: other names of the same pages and folders
  int64_t stubs = 0;                      // pages that only say ".so otherpage"
  int64_t unreadable = 0;                 // mandoc failed on them
  int64_t other_files = 0;                // that lie where no page lies
  int64_t boilerplate_lines = 0;          // left out
};

/// The manual pages FOLDER/**/man/[LANGUAGE/]manS/NAME.S[.gz] as prose; a page without LANGUAGE is English ("en").
/// Long lines that more than kBoilerplatePages pages of a language share (licence, where to report errors) are left
/// out: a model would learn them by heart. UserError where there is no page, or no mandoc (with the package's name).
ManPages read_man_pages(const std::filesystem::path& folder, const ManOptions& options);

constexpr int64_t kBoilerplatePages = 20;
constexpr int64_t kBoilerplateBytes = 40;  // shorter lines ("SEE ALSO") may repeat

}  // namespace data
