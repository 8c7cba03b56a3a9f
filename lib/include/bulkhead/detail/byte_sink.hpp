/// @file
/// Where a message's bytes are to go, asked once its size is known.
#pragma once

#include <cstddef>

namespace bulkhead::detail {

struct byte_sink {
    void* context;
    /// Room for a message of `bytes` bytes; nullptr for "no more", which is heard only after the
    /// first message. May throw; the message then stays. Called while the queue is locked, so brief.
    std::byte* (*room)(void* context, std::size_t bytes);
};

}  // namespace bulkhead::detail
