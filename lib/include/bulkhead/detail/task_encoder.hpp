/// @file
/// The encoder of a task's arguments and results: small ones on the stack, larger ones on the heap,
/// the largest straight into shared memory, so that they are written once.
#pragma once

#include <bulkhead/codec.hpp>

#include <cstddef>
#include <memory>
#include <span>
#include <vector>

namespace bulkhead::detail {

class shared_payload;

class task_encoder final : public encoder {
public:
    task_encoder() noexcept {
        begin_ = pos_ = inline_;
        end_ = inline_ + sizeof inline_;
    }
    ~task_encoder();

    void keep_alive(std::shared_ptr<const void> object) override;

    [[nodiscard]] std::span<const std::byte> bytes() const noexcept { return {begin_, size()}; }
    /// Set when the bytes lie in shared memory of their own.
    [[nodiscard]] const std::shared_ptr<shared_payload>& shared() const noexcept { return shared_; }
    [[nodiscard]] std::vector<std::shared_ptr<const void>>& kept() noexcept { return kept_; }

    /// Forgets what was written, keeps the memory unless it is shared.
    void clear() noexcept;
    /// Forgets what was written behind the first `bytes`.
    void truncate(std::size_t bytes) noexcept { pos_ = begin_ + bytes; }

private:
    void grow(std::size_t bytes) override;

    alignas(16) std::byte inline_[512];
    std::unique_ptr<std::byte[]> heap_;
    std::shared_ptr<shared_payload> shared_;
    std::vector<std::shared_ptr<const void>> kept_;
};

}  // namespace bulkhead::detail
