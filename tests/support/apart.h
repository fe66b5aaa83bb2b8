// defines: run_apart: each test of a suite in a process of its own, for tests that may end it
#pragma once
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <string>

/// Forks this process, which has loaded its libraries and begun nothing yet, once for each test of the suite; that runs
/// `all` with a filter of this test alone. Prints what it said behind a line "==== SUITE.TEST ended with CODE", the
/// code as waitpid gives it. Returns how many there were.
inline int run_apart(const std::string& suite_name, const std::function<int()>& all) {
  const testing::UnitTest& tests = *testing::UnitTest::GetInstance();
  int count = 0;
  for (int s = 0; s < tests.total_test_suite_count(); ++s) {
    const testing::TestSuite& suite = *tests.GetTestSuite(s);
    for (int t = 0; suite.name() == suite_name && t < suite.total_test_count(); ++t) {
      const std::string name = suite_name + "." + suite.GetTestInfo(t)->name();
      int pipes[2] = {};
      std::fflush(nullptr);
      const pid_t child = pipe(pipes) == 0 ? fork() : -1;
      if (child < 0) {
        std::perror("run_apart");
        std::exit(2);
      }
      if (child == 0) {
        dup2(pipes[1], STDOUT_FILENO);
        dup2(pipes[1], STDERR_FILENO);
        close(pipes[0]);
        close(pipes[1]);
        GTEST_FLAG_SET(filter, name);
        std::exit(all());
      }
      close(pipes[1]);
      std::string said;
      std::array<char, 4096> part{};
      for (ssize_t bytes = 0; (bytes = read(pipes[0], part.data(), part.size())) > 0;) {
        said.append(part.data(), static_cast<size_t>(bytes));
      }
      close(pipes[0]);
      int code = -1;
      waitpid(child, &code, 0);
      std::printf("==== %s ended with %d\n%s\n", name.c_str(), code, said.c_str());
      ++count;
    }
  }
  return count;
}
