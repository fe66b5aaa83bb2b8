// defines: check_output_file: what a command is asked to write, looked at before it begins
#pragma once
#include <filesystem>
#include <string>
#include <vector>

namespace launch {

/// UserError where `path`, given as `option`, is one of the files that the command reads (by whatever name), or where
/// no file can be written: it is a folder, or in a folder that is not there or may not be written into. Nothing is
/// made.
void check_output_file(const std::string& option, const std::filesystem::path& path,
                       const std::vector<std::filesystem::path>& sources);

}  // namespace launch
