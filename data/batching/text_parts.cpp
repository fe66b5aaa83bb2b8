#include "data/batching/text_parts.h"

#include <algorithm>
#include <cmath>

#include "parallel/base/fault.h"
#include "parallel/base/nearest.h"

namespace data {
namespace {

using parallel::user_error;

/// All that a task may be. A file of one group is that group, and is offered as the file.
std::vector<TextPart> offered_parts(const TokenMixture& mixture) {
  std::vector<TextPart> all = file_parts(mixture);
  std::erase_if(all, [](const TextPart& file) { return file.name.empty(); });
  for (const TokenMixture::Source& source : mixture.sources()) {
    const auto s = static_cast<int64_t>(&source - mixture.sources().data());
    const auto groups = static_cast<int64_t>(source.corpus.groups().size());
    for (int64_t g = 0; g < groups; ++g) {
      const std::string& name = mixture.groups()[static_cast<size_t>(source.first_group + g)];
      if (groups > 1 || name != source.name) all.push_back({.name = name, .source = s, .group = g});
    }
  }
  return all;
}

bool overlap(const TextPart& a, const TextPart& b) {
  return a.source == b.source && (a.group == b.group || a.group < 0 || b.group < 0);
}

}  // namespace

std::vector<TextPart> file_parts(const TokenMixture& mixture) {
  std::vector<TextPart> parts;
  for (const TokenMixture::Source& source : mixture.sources()) {
    parts.push_back({.name = source.name, .source = static_cast<int64_t>(parts.size())});
  }
  return parts;
}

std::vector<TextPart> task_parts(const TokenMixture& mixture, const std::vector<std::string>& names,
                                 AbsentTask absent) {
  const std::vector<TextPart> offered = offered_parts(mixture);
  const auto known = [&] {
    std::vector<std::string> all;
    for (const TextPart& part : offered) all.push_back(part.name);
    return parallel::list_names(all);
  };
  std::vector<TextPart> parts;
  for (size_t task = 0; task < names.size(); ++task) {
    const auto named = [&](const TextPart& part) { return part.name == names[task]; };
    const auto found = std::ranges::find_if(offered, named);
    if (found == offered.end()) {
      if (absent == AbsentTask::kPassedOver) continue;
      user_error("tasks.names: the task '", names[task],
                 "' has no data: it is neither a file of data.file nor a group ", "of its documents; there are ",
                 known());
    }
    if (std::ranges::count_if(offered, named) > 1) {
      user_error("tasks.names: '", names[task],
                 "' names several files or groups of data.file; legal: files and groups ", "whose names differ");
    }
    const auto shared = std::ranges::find_if(parts, [&](const TextPart& part) { return overlap(part, *found); });
    if (shared != parts.end()) {
      user_error("tasks.names: '", shared->name, "' and '", names[task],
                 "' share documents; legal: files, or groups of their documents, but not both of one file");
    }
    parts.push_back(*found);
    parts.back().task = static_cast<int64_t>(task);
  }
  if (parts.empty()) {
    user_error("tasks.names: none of the tasks ", parallel::list_names(names), " has data; there are ", known());
  }
  return parts;
}

std::vector<int64_t> tasks_of_groups(const TokenMixture& mixture, const std::vector<std::string>& names,
                                     AbsentTask absent) {
  std::vector<int64_t> tasks(mixture.groups().size(), -1);
  for (const TextPart& part : task_parts(mixture, names, absent)) {
    const TokenMixture::Source& source = mixture.sources()[static_cast<size_t>(part.source)];
    for (int64_t g = 0; g < std::ssize(source.corpus.groups()); ++g) {
      if (part.group < 0 || part.group == g) tasks[static_cast<size_t>(source.first_group + g)] = part.task;
    }
  }
  return tasks;
}

std::vector<TextPart> text_parts(const TokenMixture& mixture, const TaskConfig& tasks, AbsentTask absent) {
  const std::vector<std::string> names = task_names(tasks);
  return names.empty() ? file_parts(mixture) : task_parts(mixture, names, absent);
}

std::vector<double> part_weights(const TokenMixture& mixture, const std::vector<TextPart>& parts,
                                 const std::vector<int64_t>& sequences, const TaskConfig& tasks) {
  std::vector<double> of_file(mixture.sources().size(), 0.0), weights;
  for (size_t p = 0; p < parts.size(); ++p) {
    of_file[static_cast<size_t>(parts[p].source)] += static_cast<double>(sequences[p]);
  }
  for (size_t p = 0; p < parts.size(); ++p) {
    const auto source = static_cast<size_t>(parts[p].source);
    const auto own = static_cast<double>(sequences[p]);
    weights.push_back(tasks.sampling == TaskSampling::kTemperature
                          ? std::pow(own, 1 / tasks.temperature)
                          : mixture.sources()[source].file.weight * (own / of_file[source]));
  }
  return weights;
}

}  // namespace data
