// defines: the launches that the table of kernels holds; of this room's own files
#pragma once
#include "parallel/device_kernels/device_kernels.h"

namespace parallel {
namespace on_device {

const char* swiglu(const Swiglu& all, DeviceStream stream);
const char* swiglu_backward(const SwigluBackward& all, DeviceStream stream);
const char* clamped_swiglu(const ClampedSwiglu& all, DeviceStream stream);
const char* clamped_swiglu_backward(const ClampedSwigluBackward& all, DeviceStream stream);
const char* gelu(const Gelu& all, DeviceStream stream);
const char* gelu_backward(const GeluBackward& all, DeviceStream stream);
const char* copy_rows(const CopyRows& all, DeviceStream stream);
const char* add_weighted_rows(const AddWeightedRows& all, DeviceStream stream);
const char* weighted_rows_backward(const WeightedRowsBackward& all, DeviceStream stream);
const char* sort_choices(const SortChoices& all, DeviceStream stream);
int64_t sorting_scratch(int64_t choices, int64_t experts);
const char* zero_idle_groups(const ZeroIdleGroups& all, DeviceStream stream);
const char* largest_k(const LargestK& all, DeviceStream stream);
const char* keep_mask(const KeepMask& all, DeviceStream stream);
const char* uniform(const Uniform& all, DeviceStream stream);

}  // namespace on_device
}  // namespace parallel
