/// @file
/// What becomes of a task while a pool's backlog is full.
#pragma once

#include <cstdint>

namespace bulkhead::detail {

/// exceed: it is queued all the same, for callers who may not wait and whom the result keeps
/// waiting.
enum class when_full : std::uint8_t { wait, refuse, exceed };

}  // namespace bulkhead::detail
