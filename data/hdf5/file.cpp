#include "data/hdf5/file.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstring>
#include <system_error>

#include "data/hdf5/checksum.h"
#include "data/hdf5/handle.h"
#include "data/hdf5/memory_image.h"
#include "parallel/base/fault.h"

namespace data {
namespace {

static_assert(std::endian::native == std::endian::little, "the files are little-endian and are mapped as they are");

constexpr int64_t kMostAttributeBytes = 60 << 10;  // HDF5's compact limit is 64 KiB with the header

hid_t stored_type(ElementType type) {
  switch (type) {
    case ElementType::kUint8:
      return H5T_STD_U8LE;
    case ElementType::kUint16:
      return H5T_STD_U16LE;
    case ElementType::kUint32:
      return H5T_STD_U32LE;
    case ElementType::kInt32:
      return H5T_STD_I32LE;
    case ElementType::kInt64:
      return H5T_STD_I64LE;
    case ElementType::kFloat64:
      break;
  }
  return H5T_IEEE_F64LE;
}

template <class... Parts>
[[noreturn]] void fail(const std::filesystem::path& path, const Parts&... parts) {
  parallel::user_error(path.string(), ": ", parts...);
}

int64_t file_bytes(const std::filesystem::path& path) {
  std::error_code error;
  const auto size = std::filesystem::file_size(path, error);
  if (error) fail(path, "cannot find its size: ", error.message());
  return static_cast<int64_t>(size);
}

Hdf5Handle open_dataset(hid_t file, const std::filesystem::path& path, const std::string& name) {
  Hdf5Handle dataset(H5Dopen2(file, name.c_str(), H5P_DEFAULT), H5Dclose);
  if (!dataset.ok()) fail(path, "'", name, "' cannot be opened as a dataset: ", hdf5_reason());
  return dataset;
}

ElementType type_of(hid_t dataset, const std::filesystem::path& path, const std::string& name) {
  const Hdf5Handle type(H5Dget_type(dataset), H5Tclose);
  for (const ElementType known : {ElementType::kUint8, ElementType::kUint16, ElementType::kUint32, ElementType::kInt32,
                                  ElementType::kInt64, ElementType::kFloat64}) {
    if (type.ok() && H5Tequal(type.id(), stored_type(known)) > 0) return known;
  }
  fail(path, "'", name,
       "' has an element type that is none of uint8, uint16, uint32, int32, int64 and float64 (little-endian)");
}

int64_t count_of(hid_t dataset, const std::filesystem::path& path, const std::string& name) {
  const Hdf5Handle space(H5Dget_space(dataset), H5Sclose);
  hsize_t count = 0;
  const bool is_simple = space.ok() && H5Sget_simple_extent_type(space.id()) == H5S_SIMPLE;
  if (!is_simple || H5Sget_simple_extent_ndims(space.id()) != 1) fail(path, "'", name, "' is not one-dimensional");
  H5Sget_simple_extent_dims(space.id(), &count, nullptr);
  if (count > static_cast<hsize_t>(INT64_MAX)) fail(path, "'", name, "' claims ", count, " elements");
  return static_cast<int64_t>(count);
}

/// Contiguous and inside this very file: no chunks, filters, external or virtual storage.
void require_plain_storage(hid_t dataset, const std::filesystem::path& path, const std::string& name) {
  const Hdf5Handle properties(H5Dget_create_plist(dataset), H5Pclose);
  const bool contiguous = properties.ok() && H5Pget_layout(properties.id()) == H5D_CONTIGUOUS;
  if (!contiguous || H5Pget_external_count(properties.id()) != 0) {
    fail(path, "'", name, "' is not stored as one contiguous piece of the file");
  }
}

bool write_all(int file, const std::byte* bytes, size_t size) {
  while (size > 0) {
    const ssize_t written = ::write(file, bytes, size);
    if (written < 0 && errno != EINTR) return false;
    bytes += std::max<ssize_t>(written, 0);
    size -= static_cast<size_t>(std::max<ssize_t>(written, 0));
  }
  return true;
}

}  // namespace

int64_t bytes_of(ElementType type) {
  if (type == ElementType::kUint8) return 1;
  if (type == ElementType::kUint16) return 2;
  return type == ElementType::kInt64 || type == ElementType::kFloat64 ? 8 : 4;
}

std::string to_string(ElementType type) {
  constexpr const char* kNames[] = {"uint8", "uint16", "uint32", "int32", "int64", "float64"};
  return kNames[static_cast<int>(type)];
}

Hdf5File Hdf5File::create(const std::filesystem::path& path) {
  const QuietHdf5 quiet;
  const int target = ::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
  if (target < 0) fail(path, "cannot create the file: ", std::strerror(errno));
  Hdf5File file(path);
  file.target_ = target;
  file.image_ = std::make_unique<MemoryImage>();
  const Hdf5Handle access(H5Pcreate(H5P_FILE_ACCESS), H5Pclose);
  // The format of HDF5 1.8 on has checksums in all its metadata, so that damage there is found and not believed.
  H5Pset_libver_bounds(access.id(), H5F_LIBVER_V18, H5F_LIBVER_V110);
  const Hdf5Handle timeless(H5Pcreate(H5P_FILE_CREATE), H5Pclose);
  H5Pset_obj_track_times(timeless.id(), false);
  const bool attached = file.image_->attach(access.id());
  file.id_ = attached ? H5Fcreate(path.c_str(), H5F_ACC_TRUNC, timeless.id(), access.id()) : -1;
  if (file.id_ < 0) fail(path, "HDF5 cannot start a file: ", hdf5_reason());
  return file;
}

Hdf5File Hdf5File::open(const std::filesystem::path& path) {
  std::error_code error;
  const auto status = std::filesystem::status(path, error);
  if (!std::filesystem::exists(status)) fail(path, "there is no such file");
  if (!std::filesystem::is_regular_file(status)) fail(path, "is not a regular file");
  const QuietHdf5 quiet;
  const Hdf5Handle access(H5Pcreate(H5P_FILE_ACCESS), H5Pclose);
  // Readers take no lock: cluster file systems often have none, and a finished file never changes.
  H5Pset_file_locking(access.id(), false, true);
  Hdf5File file(path);
  file.id_ = H5Fopen(path.c_str(), H5F_ACC_RDONLY, access.id());
  if (file.id_ >= 0) return file;
  const std::string reason = hdf5_reason();
  const bool is_hdf5 = H5Fis_hdf5(path.c_str()) > 0;
  fail(path, is_hdf5 ? "is a damaged or truncated HDF5 file: " : "is not an HDF5 file, or cannot be read: ", reason);
}

Hdf5File::Hdf5File(std::filesystem::path path) : path_(std::move(path)) {}

Hdf5File::Hdf5File(Hdf5File&& other) noexcept
    : path_(std::move(other.path_)),
      image_(std::move(other.image_)),
      id_(std::exchange(other.id_, -1)),
      target_(std::exchange(other.target_, -1)) {}

Hdf5File::~Hdf5File() {
  const QuietHdf5 quiet;
  if (id_ >= 0) H5Fclose(id_);
  if (target_ >= 0) ::close(target_);
}

void Hdf5File::create_group(const std::string& name) {
  const QuietHdf5 quiet;
  const Hdf5Handle timeless(H5Pcreate(H5P_GROUP_CREATE), H5Pclose);
  H5Pset_obj_track_times(timeless.id(), false);
  const Hdf5Handle group(H5Gcreate2(id_, name.c_str(), H5P_DEFAULT, timeless.id(), H5P_DEFAULT), H5Gclose);
  if (!group.ok()) fail(path_, "cannot create group '", name, "': ", hdf5_reason());
}

void Hdf5File::write_elements(const std::string& name, ElementType type, int64_t count, const void* values) {
  const QuietHdf5 quiet;
  const hsize_t size = static_cast<hsize_t>(count);
  const Hdf5Handle space(H5Screate_simple(1, &size, nullptr), H5Sclose);
  const Hdf5Handle properties(H5Pcreate(H5P_DATASET_CREATE), H5Pclose);
  H5Pset_obj_track_times(properties.id(), false);
  H5Pset_alloc_time(properties.id(), H5D_ALLOC_TIME_EARLY);
  H5Pset_fill_time(properties.id(), H5D_FILL_TIME_NEVER);
  const Hdf5Handle dataset(
      H5Dcreate2(id_, name.c_str(), stored_type(type), space.id(), H5P_DEFAULT, properties.id(), H5P_DEFAULT),
      H5Dclose);
  if (!dataset.ok()) fail(path_, "cannot create dataset '", name, "': ", hdf5_reason());
  if (count > 0 && H5Dwrite(dataset.id(), stored_type(type), H5S_ALL, H5S_ALL, H5P_DEFAULT, values) < 0) {
    fail(path_, "cannot write dataset '", name, "': ", hdf5_reason());
  }
  write_attribute(name, "xxh64", checksum(values, static_cast<size_t>(count * bytes_of(type))));
}

void Hdf5File::write_blob(const std::string& name, std::string_view bytes) {
  write_elements(name, ElementType::kUint8, static_cast<int64_t>(bytes.size()), bytes.data());
}

void Hdf5File::write_attribute(const std::string& object, const std::string& name, const std::string& text) {
  const bool fits = static_cast<int64_t>(text.size()) <= kMostAttributeBytes;
  parallel::check_internal(fits, "attribute '", name, "' has ", text.size(), " bytes, limit ", kMostAttributeBytes);
  const QuietHdf5 quiet;
  const Hdf5Handle type(H5Tcopy(H5T_C_S1), H5Tclose);
  H5Tset_size(type.id(), text.size() + 1);
  const Hdf5Handle space(H5Screate(H5S_SCALAR), H5Sclose);
  const Hdf5Handle attribute(H5Acreate_by_name(id_, object.c_str(), name.c_str(), type.id(), space.id(), H5P_DEFAULT,
                                               H5P_DEFAULT, H5P_DEFAULT),
                             H5Aclose);
  if (!attribute.ok() || H5Awrite(attribute.id(), type.id(), text.c_str()) < 0) {
    fail(path_, "cannot write attribute '", name, "' of '", object, "': ", hdf5_reason());
  }
}

void Hdf5File::close() {
  const QuietHdf5 quiet;
  if (H5Fclose(std::exchange(id_, -1)) < 0 || image_->size() == 0) {
    fail(path_, "HDF5 cannot finish the file: ", hdf5_reason());
  }
  const bool written = write_all(target_, image_->data(), image_->size()) && ::fsync(target_) == 0;
  const int reason = errno;
  const bool closed = ::close(std::exchange(target_, -1)) == 0;  // network file systems may report a full disk here
  if (!written || !closed) fail(path_, "cannot write the file: ", std::strerror(written ? errno : reason));
}

void Hdf5File::require_inside(const std::string& name) const {
  for (size_t end = name.find('/', 1);; end = name.find('/', end + 1)) {
    const std::string part = name.substr(0, end);
    H5L_info_t link;
    const htri_t exists = part == "/" ? 1 : H5Lexists(id_, part.c_str(), H5P_DEFAULT);
    if (exists == 0) fail(path_, "has no '", part, "'; is it a file of another kind?");
    if (exists < 0 || (part != "/" && H5Lget_info(id_, part.c_str(), &link, H5P_DEFAULT) < 0)) {
      fail(path_, "'", part, "' is damaged: ", hdf5_reason());
    }
    if (part != "/" && link.type != H5L_TYPE_HARD) {
      fail(path_, "'", part, "' is a link, possibly out of the file; it must be stored");
    }
    if (end == std::string::npos) return;
  }
}

bool Hdf5File::has(const std::string& name) const {
  const QuietHdf5 quiet;
  const htri_t exists = H5Lexists(id_, name.c_str(), H5P_DEFAULT);
  if (exists < 0) fail(path_, "its list of contents is damaged: ", hdf5_reason());
  return exists > 0;
}

DatasetPlace Hdf5File::place(const std::string& name) const {
  const QuietHdf5 quiet;
  require_inside(name);
  const Hdf5Handle dataset = open_dataset(id_, path_, name);
  DatasetPlace found{type_of(dataset.id(), path_, name), count_of(dataset.id(), path_, name), 0};
  require_plain_storage(dataset.id(), path_, name);
  if (found.count == 0) return found;
  const haddr_t offset = H5Dget_offset(dataset.id());
  const int64_t size = file_bytes(path_);
  const bool starts_inside = offset != HADDR_UNDEF && offset <= static_cast<haddr_t>(size);
  if (!starts_inside || found.count > (size - static_cast<int64_t>(offset)) / bytes_of(found.type)) {
    fail(path_, "'", name, "' claims ", found.count, " elements of ", to_string(found.type), ", more than the file of ",
         size, " bytes can hold");
  }
  found.offset = static_cast<int64_t>(offset);
  return found;
}

DatasetPlace Hdf5File::checked_place(const std::string& name, ElementType type, int64_t most) const {
  const DatasetPlace found = place(name);
  if (found.type != type)
    fail(path_, "'", name, "' has elements of ", to_string(found.type), ", not ", to_string(type));
  if (found.count > most) fail(path_, "'", name, "' has ", found.count, " elements; at most ", most, " are legal");
  return found;
}

void Hdf5File::read_elements(const std::string& name, const DatasetPlace& place, void* values) const {
  const QuietHdf5 quiet;
  const Hdf5Handle dataset = open_dataset(id_, path_, name);
  if (place.count > 0 && H5Dread(dataset.id(), stored_type(place.type), H5S_ALL, H5S_ALL, H5P_DEFAULT, values) < 0) {
    fail(path_, "cannot read '", name, "': ", hdf5_reason());
  }
  const std::string found = checksum(values, static_cast<size_t>(place.count * bytes_of(place.type)));
  const std::string stored = stored_checksum(name);
  if (found != stored) fail(path_, "'", name, "' is damaged: its checksum is ", found, ", stored was ", stored);
}

std::string Hdf5File::read_blob(const std::string& name, int64_t most_bytes) const {
  const DatasetPlace found = checked_place(name, ElementType::kUint8, most_bytes);
  std::string bytes(static_cast<size_t>(found.count), '\0');
  read_elements(name, found, bytes.data());
  return bytes;
}

std::string Hdf5File::attribute(const std::string& object, const std::string& name) const {
  const QuietHdf5 quiet;
  require_inside(object);
  const htri_t exists = H5Aexists_by_name(id_, object.c_str(), name.c_str(), H5P_DEFAULT);
  if (exists < 0) fail(path_, "'", object, "' is damaged: ", hdf5_reason());
  if (exists == 0) {
    fail(path_, "'", object, "' has no attribute '", name, "'; is it a file of another kind?");
  }
  const Hdf5Handle attribute(H5Aopen_by_name(id_, object.c_str(), name.c_str(), H5P_DEFAULT, H5P_DEFAULT), H5Aclose);
  const Hdf5Handle type(attribute.ok() ? H5Aget_type(attribute.id()) : -1, H5Tclose);
  const Hdf5Handle space(attribute.ok() ? H5Aget_space(attribute.id()) : -1, H5Sclose);
  const bool is_text = type.ok() && H5Tget_class(type.id()) == H5T_STRING && H5Tis_variable_str(type.id()) == 0;
  const int64_t size = is_text ? static_cast<int64_t>(H5Tget_size(type.id())) : 0;
  if (!space.ok() || H5Sget_simple_extent_npoints(space.id()) != 1 || size < 1 || size > kMostAttributeBytes + 1) {
    fail(path_, "attribute '", name, "' of '", object, "' is not one text of at most ", kMostAttributeBytes, " bytes");
  }
  std::string text(static_cast<size_t>(size), '\0');
  if (H5Aread(attribute.id(), type.id(), text.data()) < 0) {
    fail(path_, "cannot read attribute '", name, "' of '", object, "': ", hdf5_reason());
  }
  text.resize(text.find('\0') == std::string::npos ? text.size() : text.find('\0'));
  return text;
}

}  // namespace data
