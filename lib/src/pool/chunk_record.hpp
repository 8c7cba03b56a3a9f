// How the outcomes of a chunk's items lie one behind another.
#pragma once

#include <bulkhead/codec.hpp>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>

namespace bulkhead::detail {

/// Followed by `bytes` bytes, padded so that the next record is aligned.
struct outcome_record {
    std::uint64_t threw;  // 0: the bytes are the value; 1: an encoded exception
    std::uint64_t bytes;
};
static_assert(sizeof(outcome_record) == 16);

[[nodiscard]] constexpr std::size_t padded(std::size_t bytes) noexcept {
    return (bytes + 7) / 8 * 8;
}

}  // namespace bulkhead::detail
