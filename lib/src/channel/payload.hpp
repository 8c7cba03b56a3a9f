// The bytes of a task's arguments or result while they wait in this process.
#pragma once

#include "os/memfd.hpp"

#include <bulkhead/detail/arriving_value.hpp>
#include <bulkhead/detail/task_encoder.hpp>

#include <array>
#include <cassert>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <span>
#include <utility>
#include <vector>

namespace bulkhead::detail {

/// A memfd of its own for a large payload: written in place by the process that made it, read by the other.
class shared_payload {
public:
    /// `id`: of one that is used again (channel::segment_store). Throws bulkhead::error.
    explicit shared_payload(std::size_t bytes, std::uint64_t id = 0);
    /// One that a peer sent, to be read; it must be sealed memory of at least `bytes`, else codec_error.
    shared_payload(os::unique_fd fd, std::size_t bytes);

    [[nodiscard]] int fd() const noexcept { return memory_.fd.get(); }
    [[nodiscard]] std::byte* data() const noexcept { return memory_.memory.data(); }
    [[nodiscard]] std::size_t capacity() const noexcept { return memory_.memory.size(); }
    [[nodiscard]] std::uint64_t id() const noexcept { return id_; }
    /// The mapping stays; a process that keeps many results must not run out of descriptors.
    void close_fd() noexcept { memory_.fd.reset(); }

    /// A worker may read it from now on, until it is known to be done with it. Under the pool's lock.
    void lend() noexcept { lent_ = true; }
    void returned() noexcept { lent_ = false; }
    /// For its last owner.
    [[nodiscard]] bool is_lent() const noexcept { return lent_; }

private:
    os::own_memory memory_;
    std::uint64_t id_ = 0;
    bool lent_ = false;
};

/// Payloads from this size on get a shared_payload at once.
inline constexpr std::size_t shared_payload_bytes_min = 24 << 20;

}  // namespace bulkhead::detail

namespace bulkhead::channel {

/// Small bytes inside the object, larger on the heap, the largest in shared memory; or, of large containers,
/// themselves: those that were moved into a message, and the one that arrives. Move-only.
class payload {
public:
    payload() = default;
    explicit payload(std::span<const std::byte> bytes) { assign(bytes); }
    payload(std::shared_ptr<detail::shared_payload> shared, std::size_t bytes)
        : rare_(std::make_unique<rare>(std::move(shared), nullptr)), bytes_(bytes) {}
    payload(std::unique_ptr<detail::arriving_value> value, std::size_t bytes)
        : rare_(std::make_unique<rare>(nullptr, std::move(value))), bytes_(bytes) {}

    /// Adopts memory of more bytes than fit inside.
    payload(std::unique_ptr<std::byte[]> heap, std::size_t bytes) noexcept
        : heap_(std::move(heap)), bytes_(bytes) {
        assert(bytes_ > sizeof inline_);
    }

    void assign(std::span<const std::byte> bytes) {
        rare_.reset();
        bytes_ = bytes.size();
        std::byte* target = inside();
        if (bytes_ > sizeof inline_) {
            heap_ = std::make_unique_for_overwrite<std::byte[]>(bytes_);
            target = heap_.get();
        }
        if (bytes_ != 0) std::memcpy(target, bytes.data(), bytes_);
    }

    /// The same, of what was encoded without blocks of an encoder_memory; what is large is taken over. Throws
    /// bulkhead::error.
    void take(detail::task_encoder& encoded) {
        if (encoded.is_small()) {
            assign(encoded.bytes());
        } else {
            take_large(encoded);
        }
    }

    /// Of bytes that were copied here.
    [[nodiscard]] std::span<std::byte> writable() noexcept {
        return {bytes_ > sizeof inline_ ? heap_.get() : inside(), lies_here() ? bytes_ : 0};
    }
    /// Nothing where a container was kept, or arrives.
    [[nodiscard]] std::span<const std::byte> bytes() const noexcept {
        if (!lies_here()) {
            const auto* in = shared();
            return in != nullptr ? std::span<const std::byte>(in->data(), bytes_)
                                 : std::span<const std::byte>();
        }
        return {bytes_ > sizeof inline_ ? heap_.get()
                                        : reinterpret_cast<const std::byte*>(inline_.data()),
                bytes_};
    }
    /// size() bytes of a message, of whatever kind.
    void copy_to(std::byte* target) const noexcept;
    /// All of it lies there; null: it does not.
    [[nodiscard]] detail::shared_payload* shared() const noexcept {
        return rare_ && rare_->pieces.empty() ? rare_->shared.get() : nullptr;
    }
    /// null: it is bytes.
    [[nodiscard]] detail::arriving_value* arriving() const noexcept {
        return rare_ ? rare_->value.get() : nullptr;
    }
    [[nodiscard]] std::size_t size() const noexcept { return bytes_; }
    /// What handles in it name: as long as it lives, they can be decoded.
    void keep(std::vector<std::shared_ptr<const void>> objects) {
        if (!rare_) rare_ = std::make_unique<rare>(nullptr, nullptr);
        rare_->objects = std::move(objects);
    }
    [[nodiscard]] std::vector<std::shared_ptr<const void>> take_objects() noexcept {
        return rare_ ? std::move(rare_->objects) : std::vector<std::shared_ptr<const void>>();
    }
    void clear() noexcept {
        heap_.reset();
        rare_.reset();
        bytes_ = 0;
    }

private:
    void take_large(detail::task_encoder& encoded);

    [[nodiscard]] bool lies_here() const noexcept {
        return !rare_ || (!rare_->shared && !rare_->value && rare_->pieces.empty());
    }

    /// One of the first three, or pieces between what lies in `shared`.
    struct rare {
        rare(std::shared_ptr<detail::shared_payload> memory,
             std::unique_ptr<detail::arriving_value> arrives) noexcept
            : shared(std::move(memory)), value(std::move(arrives)) {}
        std::shared_ptr<detail::shared_payload> shared;
        std::unique_ptr<detail::arriving_value> value;
        std::vector<detail::bulk_piece> pieces;  // between what was written, here or on the heap
        std::vector<std::shared_ptr<const void>> objects;
    };

    [[nodiscard]] std::byte* inside() noexcept {
        return reinterpret_cast<std::byte*>(inline_.data());
    }

    std::array<std::uint64_t, 6> inline_;  // words: bytes would be moved one by one
    std::unique_ptr<std::byte[]> heap_;
    std::unique_ptr<rare> rare_;  // one word in each task is enough for it
    std::size_t bytes_ = 0;
};

}  // namespace bulkhead::channel
