/// @file
/// The encoder of a task's arguments and results: small ones on the stack, larger ones on the heap,
/// the largest straight into shared memory, so that they are written once. Those that were moved in stay as they are.
#pragma once

#include <bulkhead/codec.hpp>
#include <bulkhead/detail/bulk.hpp>

#include <cstddef>
#include <memory>
#include <span>
#include <type_traits>
#include <utility>
#include <vector>

namespace bulkhead::detail {

class shared_payload;

/// What a message names must exist until it has been dealt with.
struct kept_object {
    std::shared_ptr<const void> object;
    int descriptor;  // other processes reach it through this one; -1: there is none
};

/// A container that was moved into a message, whose bytes follow the first `at` of those that were written.
struct bulk_piece {
    std::size_t at;
    std::span<const std::byte> bytes;
    std::shared_ptr<const void> owner;
};

/// Where an encoder puts what is large, so that it need not be copied there afterwards.
class encoder_memory {
public:
    /// A block of it; null: none is left.
    [[nodiscard]] virtual std::byte* allocate(std::size_t) { return nullptr; }
    virtual void release(std::byte*) noexcept {}
    /// Memory that can be sent; null: none is left.
    [[nodiscard]] virtual std::shared_ptr<shared_payload> segment(std::size_t) { return nullptr; }

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

    void keep_alive(std::shared_ptr<const void> object) override {
        keep_reachable(std::move(object), -1);
    }
    void keep_reachable(std::shared_ptr<const void> object, int descriptor) override;

    /// From now on a keep() may succeed.
    void take_over_moved() noexcept { takes_over_ = true; }
    /// What write() would do, but a large container is taken over in place of being copied. False, and it is
    /// left alone, when it is to be copied.
    template <class Container>
    requires(is_bulk<Container> && !std::is_reference_v<Container>)
    [[nodiscard]] bool keep(Container&& value) {
        if (!is_worth_keeping(value.size() * sizeof(typename Container::value_type))) return false;
        const auto owner = std::make_shared<const Container>(std::forward<Container>(value));
        write_count(*this, owner->size());
        const auto content = std::as_bytes(std::span(owner->data(), owner->size()));
        pieces_.push_back({size(), content, owner});
        piece_bytes_ += content.size();
        return true;
    }
    /// Those that were kept, in the order of the message.
    [[nodiscard]] std::vector<bulk_piece>& pieces() noexcept { return pieces_; }
    [[nodiscard]] std::size_t piece_bytes() const noexcept { return piece_bytes_; }

    /// All of it is inside this object.
    [[nodiscard]] bool is_small() const noexcept { return begin_ == inline_ && pieces_.empty(); }
    /// All but the pieces.
    [[nodiscard]] std::span<const std::byte> bytes() const noexcept { return {begin_, size()}; }
    /// Set when the bytes lie in shared memory of their own.
    [[nodiscard]] const std::shared_ptr<shared_payload>& shared() const noexcept { return shared_; }
    /// Gives it away, and forgets what was written.
    [[nodiscard]] std::shared_ptr<shared_payload> take_shared() noexcept;
    [[nodiscard]] std::vector<kept_object>& kept() noexcept { return kept_; }

    /// Set when they lie on the heap: gives them away, and forgets them.
    [[nodiscard]] std::unique_ptr<std::byte[]> take_heap() noexcept;
    /// The same when they lie in a block of the encoder_memory.
    [[nodiscard]] std::byte* take_block() noexcept;

    /// Forgets what was written, keeps the memory unless it is shared.
    void clear() noexcept;
    /// Forgets what was written behind the first `bytes`.
    void truncate(std::size_t bytes) noexcept { pos_ = begin_ + bytes; }

private:
    [[nodiscard]] bool is_worth_keeping(std::size_t bytes) const noexcept;
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
    std::vector<kept_object> kept_;
    std::vector<bulk_piece> pieces_;
    std::size_t piece_bytes_ = 0;
    bool takes_over_ = false;
};

}  // namespace bulkhead::detail
