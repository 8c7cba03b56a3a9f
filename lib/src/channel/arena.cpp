// First fit: low offsets are used again and again, so their pages stay warm and few.
#include "channel/arena.hpp"

#include <cassert>
#include <iterator>

namespace bulkhead::channel {

arena::arena(std::size_t bytes) { free_.emplace(0, bytes); }

std::optional<std::size_t> arena::allocate(std::size_t bytes) {
    const std::size_t rounded = bytes == 0 ? 64 : (bytes + 63) / 64 * 64;
    for (auto hole = free_.begin(); hole != free_.end(); ++hole) {
        if (hole->second < rounded) continue;
        const auto [offset, size] = *hole;
        free_.erase(hole);
        if (size > rounded) free_.emplace(offset + rounded, size - rounded);
        used_.emplace(offset, rounded);
        return offset;
    }
    return std::nullopt;
}

void arena::release(std::size_t offset) {
    const auto block = used_.find(offset);
    assert(block != used_.end());
    if (block == used_.end()) return;
    auto [hole, inserted] = free_.emplace(offset, block->second);
    used_.erase(block);
    if (const auto next = std::next(hole);
        next != free_.end() && hole->first + hole->second == next->first) {
        hole->second += next->second;
        free_.erase(next);
    }
    if (hole != free_.begin()) {
        const auto before = std::prev(hole);
        if (before->first + before->second == hole->first) {
            before->second += hole->second;
            free_.erase(hole);
        }
    }
}

}  // namespace bulkhead::channel
