// The strict device's memory: mapped twice, once without access at the addresses that tensors have, once for the
// device's own kernels. What reads or writes a tensor from the host ends the program.
// defines: alias_of, is_of_device, device_allocator, note_use, last_use, pinned_allocator, is_pinned,
// pinned_travels, pinned_arrived, memory_file, place_in_file, kDeviceBytes
#pragma once
#include <c10/core/Allocator.h>

#include <cstddef>
#include <cstdint>

namespace strict {

constexpr size_t kDeviceBytes = size_t{64} << 30;  // of addresses; pages come when they are touched

/// Where the device's kernels find what a tensor has at `address`.
void* alias_of(const void* address);
bool is_of_device(const void* address);

/// What is fresh, or was given back, holds not-a-numbers: given back it belongs to whatever the stream does next.
c10::Allocator& device_allocator();

/// The default stream's last step that used the memory that `address` is in, or was its being given out.
void note_use(const void* address, uint64_t tick);
uint64_t last_use(const void* address);

/// Of the host: what is copied from or to it while the host goes on.
c10::Allocator& pinned_allocator();
bool is_pinned(const void* address);

/// As LibTorch has it for CUDA, blocks are of powers of two and are kept; one given back serves again when the host has
/// waited for what travels through it. What is kept is written to the file that STRICT_DEVICE_PINNED names.
void pinned_travels(const void* address);
void pinned_arrived();

/// The file behind the device's memory, for other ranks to map; an address's place in it is its distance from the
/// first.
int memory_file();
size_t place_in_file(const void* address);

}  // namespace strict
