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

// Advice that the kernel does not take costs time and no more.
void MappedFile::expect_pass() const { ::madvise(const_cast<std::byte*>(data_), size_, MADV_SEQUENTIAL); }

void MappedFile::expect_random_places() const {
  ::madvise(const_cast<std::byte*>(data_), size_, MADV_DONTNEED);
  ::madvise(const_cast<std::byte*>(data_), size_, MADV_RANDOM);
}

void MappedFile::will_read(const std::byte* first, size_t size) const {
  static const auto kPage = static_cast<size_t>(::sysconf(_SC_PAGESIZE));
  const size_t begin = static_cast<size_t>(first - data_) / kPage * kPage;
  const size_t end = static_cast<size_t>(first - data_) + size;
  ::madvise(const_cast<std::byte*>(data_) + begin, end - begin, MADV_WILLNEED);
}

MappedFile::~MappedFile() { ::munmap(const_cast<std::byte*>(data_), size_); }

}  // namespace data
