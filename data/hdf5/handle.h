// The vendor's header stops here: included by this room and, for what needs parallel HDF5, by launch/checkpoint.
// defines: Hdf5Handle, QuietHdf5, hdf5_reason
#pragma once
#include <hdf5.h>

#include <string>
#include <utility>

namespace data {

/// Owns one HDF5 identifier; negative means that the call which made it failed.
class Hdf5Handle {
 public:
  Hdf5Handle(hid_t id, herr_t (*close)(hid_t)) : id_(id), close_(close) {}
  Hdf5Handle(Hdf5Handle&& other) noexcept : id_(std::exchange(other.id_, -1)), close_(other.close_) {}
  Hdf5Handle& operator=(Hdf5Handle&&) = delete;
  ~Hdf5Handle() {
    if (id_ >= 0) close_(id_);
  }

  bool ok() const { return id_ >= 0; }
  hid_t id() const { return id_; }

 private:
  hid_t id_;
  herr_t (*close_)(hid_t);
};

/// While it lives HDF5 prints nothing; afterwards the previous printer is back.
class QuietHdf5 {
 public:
  QuietHdf5() {
    // Files are closed by their owners. After meeting damaged metadata HDF5 1.10 cannot tidy up when the process ends,
    // and says so on standard error; it is kept from trying. Only effective before its first use, hence here.
    static const herr_t no_exit_handler = H5dont_atexit();
    static_cast<void>(no_exit_handler);
    H5Eget_auto2(H5E_DEFAULT, &printer_, &argument_);
    H5Eset_auto2(H5E_DEFAULT, nullptr, nullptr);
  }
  QuietHdf5(const QuietHdf5&) = delete;
  QuietHdf5& operator=(const QuietHdf5&) = delete;
  ~QuietHdf5() { H5Eset_auto2(H5E_DEFAULT, printer_, argument_); }

 private:
  H5E_auto2_t printer_ = nullptr;
  void* argument_ = nullptr;
};

/// The innermost reason of the last failure, in HDF5's words, or the operating system's where it named one.
std::string hdf5_reason();

}  // namespace data
