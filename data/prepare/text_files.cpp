#include "data/prepare/text_files.h"

#include <algorithm>
#include <exception>
#include <iterator>
#include <set>
#include <utility>

#include "data/files/file_bytes.h"
#include "data/prepare/document_parts.h"
#include "data/prepare/encoding.h"
#include "data/sources/glob.h"
#include "data/sources/text_source.h"
#include "data/sources/workers.h"
#include "parallel/base/fault.h"
#include "parallel/base/random.h"

namespace data {
namespace {

namespace fs = std::filesystem;

/// Of files that are read by `readers` threads at once.
TextFileOptions file_options(const PrepareOptions& options, int64_t threads, int64_t readers) {
  return {options.language, options.most_file_bytes, options.field, !options.chat.name.empty(),
          std::max<int64_t>(1, threads / readers)};
}

/// A pipe has no content that could be known again, and is read by the first one.
bool is_file(const fs::path& path) {
  std::error_code error;
  return fs::is_regular_file(path, error);
}

int64_t size_of(const fs::path& path) {
  std::error_code error;
  const auto size = fs::file_size(path, error);
  return error ? 0 : static_cast<int64_t>(size);
}

std::string part_name(const fs::path& path) {
  return parallel::concat("read_", parallel::hash_name(fs::absolute(path).string()));
}

/// What a file is read from and with: another content has another size or time.
std::string part_key(const fs::path& path, const PrepareOptions& options) {
  std::error_code error;
  const auto time = fs::last_write_time(path, error).time_since_epoch().count();
  return parallel::concat(path.string(), "\n", size_of(path), "\n", time, "\n", options.language, "\n", options.field,
                          "\n", options.most_file_bytes);
}

std::string packed_documents(const std::vector<SourceDocument>& documents, const std::vector<std::string>& notes) {
  PartWriter part;
  part.number(static_cast<int64_t>(notes.size()));
  for (const std::string& note : notes) part.text(note);
  for (const SourceDocument& document : documents) {
    for (const auto* text : {&document.name, &document.identity, &document.key, &document.group, &document.text}) {
      part.text(*text);
    }
    write_messages(part, document.messages);
  }
  return part.content();
}

void unpack_documents(const std::string& content, std::vector<SourceDocument>& documents,
                      std::vector<std::string>* notes) {
  PartReader part(content);
  for (int64_t left = part.number(); left > 0; --left) notes->emplace_back(part.text());
  while (!part.at_end()) {
    SourceDocument& document = documents.emplace_back();
    for (auto* text : {&document.name, &document.identity, &document.key, &document.group, &document.text}) {
      *text = part.text();
    }
    document.messages = read_messages(part);
  }
}

void read_into_part(const fs::path& file, const PrepareOptions& options, const TextFileOptions& with,
                    const PartsFolder& parts) {
  const std::string name = part_name(file), key = part_key(file, options);
  if (parts.read(name, key)) return;
  std::vector<std::string> notes;
  if (parts.is_outdated(name, key)) {
    notes.push_back("'" + file.string() + "' has changed since an earlier prepare read it, and was read again.");
  }
  const auto documents = read_text_file(file, with, &notes);
  parts.write(name, key, packed_documents(documents, notes));
}

}  // namespace

TextFiles::TextFiles(const PrepareOptions& options, std::vector<std::string>* notes) : options_(options) {
  std::set<fs::path> files;  // a file that two patterns match counts once
  for (const std::string& pattern : options.text) {
    const auto found = expand_glob(pattern, notes);
    files.insert(found.begin(), found.end());
  }
  for (const fs::path& file : files) require_apart(options.output, file);
  files_.assign(files.begin(), files.end());
}

int64_t TextFiles::bytes() const {
  int64_t sum = 0;
  for (const fs::path& file : files_) sum += size_of(file);
  return sum;
}

void TextFiles::read_share(const PartsFolder& parts, const PrepareTeam& team) const {
  std::vector<const fs::path*> own;
  for (size_t i = 0; i < files_.size(); ++i) {
    const bool mine = static_cast<int64_t>(i) % team.shard.count == team.shard.index;
    if (mine && is_file(files_[i])) own.push_back(&files_[i]);
  }
  int64_t own_bytes = 0;
  for (const fs::path* file : own) own_bytes += size_of(*file);
  const auto of_share = phase_progress(options_, "reading", own_bytes * team.shard.count);
  const int64_t threads = threads_or_cores(threads_each(options_, team));
  const int64_t readers = std::clamp<int64_t>(std::ssize(own), 1, threads);
  std::vector<std::exception_ptr> faults(own.size());  // the other files are read nevertheless
  for_each_index(std::ssize(own), readers, [&](int64_t index) {
    const fs::path& file = *own[static_cast<size_t>(index)];
    try {
      read_into_part(file, options_, file_options(options_, threads, readers), parts);
    } catch (const parallel::UserError&) {
      faults[static_cast<size_t>(index)] = std::current_exception();
    }
    of_share(size_of(file) * team.shard.count);  // the others are about as far
  });
  for (const std::exception_ptr& fault : faults) {
    if (fault) std::rethrow_exception(fault);
  }
}

std::vector<SourceDocument> TextFiles::documents(const PartsFolder* parts, std::vector<std::string>* notes) const {
  struct File {
    std::vector<SourceDocument> documents;
    std::vector<std::string> notes;
  };
  std::vector<File> read(files_.size());
  const auto advance = parts == nullptr ? phase_progress(options_, "reading", bytes()) : [](int64_t) {};
  const int64_t threads = threads_or_cores(options_.threads);
  const int64_t readers = std::clamp<int64_t>(std::ssize(files_), 1, threads);
  for_each_index(std::ssize(files_), readers, [&](int64_t index) {
    const fs::path& file = files_[static_cast<size_t>(index)];
    File& each = read[static_cast<size_t>(index)];
    if (parts != nullptr && is_file(file)) {
      const auto content = parts->read(part_name(file), part_key(file, options_));
      if (!content) {
        parallel::user_error(file.string(), ": has changed while it was read; prepare again when it is whole");
      }
      unpack_documents(*content, each.documents, &each.notes);
    } else {
      each.documents = read_text_file(file, file_options(options_, threads, readers), &each.notes);
    }
    advance(size_of(file));
  });
  std::vector<SourceDocument> all;
  for (File& file : read) {
    all.insert(all.end(), std::make_move_iterator(file.documents.begin()),
               std::make_move_iterator(file.documents.end()));
    notes->insert(notes->end(), file.notes.begin(), file.notes.end());
  }
  return all;
}

}  // namespace data
