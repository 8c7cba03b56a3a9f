// Where in a compartment's shared memory the middle-sized payloads lie. One process allocates in an
// arena, and keeps the books in its own memory: the other side can neither corrupt them nor die with
// a lock on them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>

namespace bulkhead::channel {

/// First fit over offsets, neighbours merged. Not thread-safe.
class arena {
public:
    explicit arena(std::size_t bytes);

    /// nullopt when no hole is large enough. The offset is aligned to 64.
    [[nodiscard]] std::optional<std::size_t> allocate(std::size_t bytes);
    /// Of what allocate() gave, all behind the first `bytes` is free again.
    void shrink(std::size_t offset, std::size_t bytes);
    /// Of what allocate() gave, once.
    void release(std::size_t offset);
    /// Everything is free again.
    [[nodiscard]] bool empty() const noexcept { return used_.empty(); }

private:
    void add_hole(std::size_t offset, std::size_t bytes);

    std::map<std::size_t, std::size_t> free_;  // offset -> bytes
    std::map<std::size_t, std::size_t> used_;
};

}  // namespace bulkhead::channel
