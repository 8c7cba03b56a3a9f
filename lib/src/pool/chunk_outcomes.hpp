// In a worker: the outcomes of a chunk's items so far, in memory where the parent finds them also when
// this process dies.
#pragma once

#include "channel/worker_port.hpp"
#include "pool/chunk_record.hpp"

#include <bulkhead/detail/flat_chunk.hpp>
#include <bulkhead/detail/task_encoder.hpp>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace bulkhead::detail {

/// One chunk after another. Its outcomes are either records (add(), assemble()) or, behind begin_flat(), values
/// that their items write themselves, and records of those that threw.
class chunk_outcomes {
public:
    explicit chunk_outcomes(channel::worker_port& port) noexcept : port_(port) {}

    void begin();
    /// For up to `items` of `bytes_each`; valid until the next begin().
    flat_block& begin_flat(std::size_t items, std::size_t bytes_each);

    /// One more item has ended, with a value or an exception; false: there is no room for it.
    [[nodiscard]] bool add(bool threw, std::span<const std::byte> outcome);
    /// The item's exception, before its flat_block::commit().
    [[nodiscard]] bool add_flat_error(std::size_t item, std::span<const std::byte> exception);

    /// What there is, and one more that has no room, as a result of its own. Throws with all as it was.
    void assemble(task_encoder& to, bool threw, std::span<const std::byte> outcome) const;
    void assemble_flat(task_encoder& to, std::size_t item,
                       std::span<const std::byte> exception) const;

    /// Gives the parent what there is, where it lies; false: it is in `otherwise`, to be given.
    [[nodiscard]] bool finish(task_encoder& otherwise);
    /// It is given in another way.
    void drop() noexcept { port_.drop_chunk(); }

private:
    channel::worker_port& port_;
    std::span<std::byte> block_;  // of the arena; none when that has no room
    std::uint64_t items_ = 0;
    std::size_t bytes_ = 0;
    flat_block flat_;
    std::byte* flat_memory_ = nullptr;
    std::uint64_t flat_errors_at_ = 0;
    std::vector<std::byte> own_block_;      // when the arena has no room
    std::atomic<std::uint64_t> unseen_{0};  // then in place of the parent's word
};

}  // namespace bulkhead::detail
