/// @file
/// Containers that are one block of bytes: a large one need not be encoded into a message, nor decoded from one.
#pragma once

#include <bulkhead/codec.hpp>

#include <cstddef>
#include <cstdint>
#include <string>
#include <type_traits>
#include <vector>

namespace bulkhead::detail {

/// In front of the elements: how many there are, as encode_elements() writes it.
using bulk_count = std::uint64_t;

inline constexpr std::size_t bulk_element_bytes_max = 4096;

/// A container whose elements are one block of bytes, and that may be built in any thread: no code of the user's
/// runs, and its allocator knows no threads.
template <class T>
inline constexpr bool is_bulk = false;
template <class T>
inline constexpr bool is_bulk<std::vector<T>> =
    is_primary_codec<codec<std::vector<T>>> && contiguous_trivial<std::vector<T>> &&
    alignof(T) <= alignof(bulk_count) && sizeof(T) <= bulk_element_bytes_max;
template <class C>
inline constexpr bool is_bulk<std::basic_string<C>> =
    std::is_integral_v<C> && is_primary_codec<codec<std::basic_string<C>>> &&
    contiguous_trivial<std::basic_string<C>> && !std::is_same_v<C, bool> &&
    alignof(C) <= alignof(bulk_count);

}  // namespace bulkhead::detail
