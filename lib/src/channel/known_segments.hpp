// The segments of large arguments that a worker has mapped, for the next task that comes in one of them: mapping it
// and faulting its pages in would take longer than the copy.
#pragma once

#include "channel/payload.hpp"

#include <chrono>
#include <cstdint>
#include <memory>
#include <vector>

namespace bulkhead::channel {

/// For one thread.
class known_segments {
public:
    /// After its last use: the parent may have parted with it, and its memory is here still.
    static constexpr std::chrono::seconds keep_for{1};

    /// null: it is not known.
    [[nodiscard]] std::shared_ptr<detail::shared_payload> find(std::uint64_t id);
    void keep(std::uint64_t id, std::shared_ptr<detail::shared_payload> segment);
    [[nodiscard]] bool any() const noexcept { return !entries_.empty(); }
    /// Parts with those that have not been used for keep_for.
    void age();
    void drop() noexcept { entries_.clear(); }

private:
    using clock = std::chrono::steady_clock;
    struct entry {
        std::uint64_t id;
        std::shared_ptr<detail::shared_payload> segment;
        clock::time_point used;
    };

    std::vector<entry> entries_;  // the least recently used first
};

}  // namespace bulkhead::channel
