#include "data/datasets/mapped_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "parallel/base/fault.h"

namespace data {

MappedFile::MappedFile(const std::filesystem::path& path) {
  const int file = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (file < 0) parallel::user_error(path.string(), ": cannot open: ", std::strerror(errno));
  struct stat status {};
  void* address = MAP_FAILED;
  if (::fstat(file, &status) == 0) {
    size_ = static_cast<size_t>(status.st_size);
    address = ::mmap(nullptr, size_, PROT_READ, MAP_SHARED, file, 0);
  }
  const int reason = errno;
  ::close(file);
  if (address == MAP_FAILED) parallel::user_error(path.string(), ": cannot map into memory: ", std::strerror(reason));
  data_ = static_cast<const std::byte*>(address);
}

MappedFile::~MappedFile() { ::munmap(const_cast<std::byte*>(data_), size_); }

}  // namespace data
