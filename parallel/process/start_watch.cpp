#include "parallel/process/start_watch.h"

#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <thread>

#include "parallel/base/fault.h"
#include "parallel/base/rank_list.h"

namespace parallel {
namespace {

constexpr const char* kThreadName = "moetrain_start";  // at most 15 characters

std::string whole_file(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

std::string first_line(const std::filesystem::path& path) {
  std::string line;
  std::ifstream file(path);
  std::getline(file, line);
  return line;
}

/// The value of NAME in the text of a /proc/*/environ, NAME=VALUE\0...; empty where it is not set.
std::string variable(const std::string& environment, const std::string& name) {
  const std::string text = std::string(1, '\0') + environment;
  const size_t at = text.find(std::string(1, '\0') + name + "=");
  if (at == std::string::npos) return {};
  return text.c_str() + at + name.size() + 2;
}

bool is_starting(const std::filesystem::path& process) {
  std::error_code error;
  for (const auto& task : std::filesystem::directory_iterator(process / "task", error)) {
    if (first_line(task.path() / "comm") == kThreadName) return true;
  }
  return false;
}

}  // namespace

HostArrivals host_arrivals(const Launch& launch) {
  HostArrivals here;
  char name[256] = {};
  gethostname(name, sizeof(name) - 1);
  here.host = name;
  std::error_code error;
  const std::filesystem::path own_host = std::filesystem::read_symlink("/proc/self/ns/uts", error);
  for (const auto& process : std::filesystem::directory_iterator("/proc", error)) {
    const std::string number = process.path().filename();
    if (number.find_first_not_of("0123456789") != std::string::npos) continue;
    // Hosts of a test bed are name spaces of one machine, which share /proc.
    if (std::filesystem::read_symlink(process.path() / "ns/uts", error) != own_host) continue;
    const std::string environment = whole_file(process.path() / "environ");  // of another user's process: empty
    std::string job, rank;
    for (const char* key : {"PMIX_NAMESPACE", "PMI_JOBID"}) {
      if (job.empty()) job = variable(environment, key);
    }
    for (const char* key : {"OMPI_COMM_WORLD_RANK", "PMIX_RANK", "PMI_RANK"}) {
      if (rank.empty()) rank = variable(environment, key);
    }
    if (job.empty() || job != launch.job || rank.empty()) continue;
    if (is_starting(process.path())) {
      here.arrived.push_back(std::atoll(rank.c_str()));
    } else {
      here.elsewhere[std::atoll(rank.c_str())] = first_line(process.path() / "comm") + " (process " + number + ")";
    }
  }
  std::sort(here.arrived.begin(), here.arrived.end());
  for (const int64_t rank : here.arrived) here.elsewhere.erase(rank);  // a wrapper script and its program
  return here;
}

std::string late_message(const Launch& launch, const HostArrivals& here, double seconds, bool initialized) {
  std::ostringstream text;
  const auto there = static_cast<int64_t>(here.arrived.size());
  text << "start: after " << seconds << " s ";
  if (initialized) {
    text << "all " << launch.ranks << " ranks have started MPI, but no message from every rank reaches " << here.host
         << ": MPI talks over an interface that does not join the hosts; name the one that does with "
         << "OMPI_MCA_btl_tcp_if_include=NAME-OR-SUBNET, and try it with `moetrain doctor`";
    return text.str();
  }
  text << there;
  if (launch.host_ranks > 0) text << " of the " << launch.host_ranks;
  text << " ranks of host " << here.host << " have arrived (" << rank_list(here.arrived) << "), of " << launch.ranks
       << " in all";
  if (here.complete(launch)) {
    text << "; what is missing is on other hosts";
  } else {
    text << "; missing here: " << launch.host_ranks - there;
    for (const auto& [rank, program] : here.elsewhere) text << ", in place of rank " << rank << " runs " << program;
  }
  text << ". Look for a rank that waits before it starts (a wrapper script, a file system), or give it longer with "
       << "--start-limit SECONDS";
  return text.str();
}

StartWatch::StartWatch(double seconds, int exit_code) : launch_(launch_facts()) {
  if (launch_.ranks > 1) deadline_.emplace(seconds, kThreadName, [=, this] { report(seconds, exit_code); });
}

void StartWatch::report(double limit, int exit_code) const {
  const HostArrivals here = host_arrivals(launch_);
  // The ranks of a host find out at about the same time. One speaks; the others do where it never does.
  const bool speaks = initialized_ ? launch_.rank == 0 : here.arrived.empty() || here.arrived.front() == launch_.rank;
  const bool to_blame = initialized_ || !here.complete(launch_);
  std::this_thread::sleep_for(std::chrono::seconds(!speaks ? 5 : to_blame ? 0 : 2));
  std::fprintf(stderr, "moetrain: %s\n", late_message(launch_, here, limit, initialized_).c_str());
  std::fflush(stderr);
  std::this_thread::sleep_for(std::chrono::seconds(1));  // a rank that looks a moment later still sees this one
  std::_Exit(exit_code);
}

}  // namespace parallel
