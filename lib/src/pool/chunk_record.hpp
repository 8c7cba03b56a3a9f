// How the outcomes of a chunk's items lie one behind another.
#pragma once

#include <bulkhead/codec.hpp>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>

namespace bulkhead::detail {

/// In front of the outcomes.
struct chunk_header {
    std::uint64_t done;       // make_chunk_word: items that count, bytes of all this
    std::uint64_t errors_at;  // of flat results: where the exceptions begin
};
static_assert(sizeof(chunk_header) == 16);

/// The exception of an item among flat results, whose place there holds nothing. Followed by `bytes` bytes, padded.
struct flat_error_record {
    std::uint64_t item;
    std::uint64_t bytes;
};
static_assert(sizeof(flat_error_record) == 16);

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
