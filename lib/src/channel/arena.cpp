// First fit: low offsets are used again and again, so their pages stay warm and few.
#include "channel/arena.hpp"

#include <cassert>
#include <iterator>

namespace bulkhead::channel {

arena::arena(std::size_t bytes) { free_.emplace(0, bytes); }

namespace {

std::size_t rounded_up(std::size_t bytes) { return bytes == 0 ? 64 : (bytes + 63) / 64 * 64; }

}  // namespace

std::optional<std::size_t> arena::allocate(std::size_t bytes) {
    const std::size_t rounded = rounded_up(bytes);
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
    const std::size_t bytes = block->second;
    used_.erase(block);
    add_hole(offset, bytes);
}

void arena::shrink(std::size_t offset, std::size_t bytes) {
    const auto block = used_.find(offset);
    assert(block != used_.end());
    const std::size_t kept = rounded_up(bytes);
    if (block == used_.end() || block->second <= kept) return;
    const std::size_t given_back = block->second - kept;
    block->second = kept;
    add_hole(offset + kept, given_back);
}

void arena::add_hole(std::size_t offset, std::size_t bytes) {
    auto hole = free_.emplace(offset, bytes).first;
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
