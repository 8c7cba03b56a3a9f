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

/// Where an encoder puts what is large, so that it need not be copied there afterwards.
class encoder_memory {
public:
    /// null: none is left.
    [[nodiscard]] virtual std::byte* allocate(std::size_t bytes) = 0;
    virtual void release(std::byte* block) noexcept = 0;

protected:
    encoder_memory() = default;
    ~encoder_memory() = default;
};

class task_encoder final : public encoder {
public:
    /// `memory` outlives the encoder; none: the heap does.
    explicit task_encoder(encoder_memory* memory = nullptr) noexcept : memory_(memory) {
        use_inline();
    }
    ~task_encoder();

    void keep_alive(std::shared_ptr<const void> object) override;

    [[nodiscard]] std::span<const std::byte> bytes() const noexcept { return {begin_, size()}; }
    /// Set when the bytes lie in shared memory of their own.
    [[nodiscard]] const std::shared_ptr<shared_payload>& shared() const noexcept { return shared_; }
    [[nodiscard]] std::vector<std::shared_ptr<const void>>& kept() noexcept { return kept_; }

    /// Set when they lie on the heap: gives them away, and forgets them.
    [[nodiscard]] std::unique_ptr<std::byte[]> take_heap() noexcept;
    /// The same when they lie in a block of the encoder_memory.
    [[nodiscard]] std::byte* take_block() noexcept;

    /// Forgets what was written, keeps the memory unless it is shared.
    void clear() noexcept;
    /// Forgets what was written behind the first `bytes`.
    void truncate(std::size_t bytes) noexcept { pos_ = begin_ + bytes; }

private:
    void grow(std::size_t bytes) override;
    void use_inline() noexcept {
        begin_ = pos_ = inline_;
        end_ = inline_ + sizeof inline_;
    }
    void drop_block() noexcept;

    alignas(16) std::byte inline_[512];
    std::unique_ptr<std::byte[]> heap_;
    encoder_memory* memory_;
    std::byte* block_ = nullptr;
    std::shared_ptr<shared_payload> shared_;
    std::vector<std::shared_ptr<const void>> kept_;
};

}  // namespace bulkhead::detail
