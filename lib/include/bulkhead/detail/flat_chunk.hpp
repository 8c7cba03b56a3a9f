/// @file
/// Chunks of map() whose arguments and results have fixed sizes: both travel as arrays of bytes, without a
/// frame, an encoder or a clock for each item, and a result counts from one store on.
#pragma once

#include <bulkhead/codec.hpp>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <exception>
#include <limits>
#include <memory>
#include <new>
#include <optional>
#include <sys/types.h>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

namespace bulkhead::detail {

/// Larger ones gain nothing.
inline constexpr std::size_t flat_value_bytes_max = 1024;
/// A batch is left as it is once its results may take this much: what remains of the worker's block is for
/// the exceptions of items.
inline constexpr std::size_t flat_result_bytes_max = std::size_t{192} * 1024;

/// Goes by memcpy, and not by a codec of the program's own.
template <class T>
inline constexpr bool is_flat = false;
template <>
inline constexpr bool is_flat<void> = true;
template <class T>
requires(!std::is_void_v<T> && (trivially_travels<T> || std::is_same_v<T, bool>))
inline constexpr bool is_flat<T> =
    !std::is_empty_v<T> && sizeof(T) <= flat_value_bytes_max && is_primary_codec<codec<T>>;

template <class T>
inline constexpr std::size_t flat_bytes = sizeof(T);
template <>
inline constexpr std::size_t flat_bytes<void> = 0;

/// In a chunk's word: the last item that it counts was the last that has begun.
inline constexpr std::uint64_t between_items = std::uint64_t{1} << 39;

/// How many items of a chunk are done, and how many bytes they take, in one word that changes by one store.
[[nodiscard]] constexpr std::uint64_t make_chunk_word(std::uint64_t items,
                                                      std::uint64_t bytes) noexcept {
    return items << 40 | bytes;
}
[[nodiscard]] constexpr std::uint64_t chunk_word_items(std::uint64_t word) noexcept {
    return word >> 40;
}
[[nodiscard]] constexpr std::uint64_t chunk_word_bytes(std::uint64_t word) noexcept {
    return word & (between_items - 1);
}

/// In the worker: where the results go, one behind another.
struct flat_block {
    std::size_t items = 0;  ///< that are to be run; perhaps not all that were sent
    std::byte* values = nullptr;
    bool timed = false;       ///< each item has a time limit of its own, and says when it begins
    std::uint64_t bytes = 0;  ///< of the block, up to the last exception in it
    std::atomic<std::uint64_t>* done = nullptr;
    const std::atomic<std::uint64_t>* abandoned = nullptr;
    std::uint64_t ticket = 0;
    const std::atomic<unsigned>* forks = nullptr;
    unsigned own_forks = 0;

    /// This is not the worker, but a process that the function has forked.
    [[nodiscard]] bool in_a_fork() const noexcept {
        return forks->load(std::memory_order_relaxed) != own_forks;
    }

    /// The first `count` items have their outcome; false when the chunk shall end here.
    [[nodiscard]] bool commit(std::size_t count) noexcept {
        // Release: the parent, once this process is dead, reads the results that the word counts.
        const std::uint64_t word = make_chunk_word(count, bytes);
        done->store(timed ? word | between_items : word, std::memory_order_release);
        if (abandoned->load(std::memory_order_relaxed) != ticket) return true;
        done->store(word | between_items, std::memory_order_release);
        return false;
    }
};

/// In the parent: a batch's arguments.
class flat_message {
public:
    /// Room for `count` more items of `bytes_each`, behind those that are there; see added().
    [[nodiscard]] std::byte* room_for(std::size_t count, std::size_t bytes_each) {
        if (capacity_ - used_ < count * bytes_each) grow(count * bytes_each);
        item_bytes_ = bytes_each;
        return bytes_.get() + used_;
    }
    /// So many of them have been written.
    void added(std::size_t count) noexcept { used_ += count * item_bytes_; }
    [[nodiscard]] std::size_t items() const noexcept {
        return item_bytes_ == 0 ? 0 : used_ / item_bytes_;
    }
    [[nodiscard]] std::size_t bytes() const noexcept { return used_; }
    /// Writes the items from `first` on behind the function.
    void write(encoder& out, std::size_t first) const {
        write_count(out, items() - first);
        out.write_bytes(bytes_.get() + first * item_bytes_, used_ - first * item_bytes_);
    }
    /// What was added; the next batch will be about as large.
    [[nodiscard]] flat_message take() {
        flat_message taken = std::exchange(*this, {});
        expected_ = taken.used_;
        return taken;
    }

private:
    void grow(std::size_t bytes);

    std::unique_ptr<std::byte[]> bytes_;
    std::size_t used_ = 0;
    std::size_t capacity_ = 0;
    std::size_t item_bytes_ = 0;
    std::size_t expected_ = 0;
};

/// An item of a chunk that threw.
struct flat_error {
    std::size_t item;
    std::exception_ptr what;
};

/// What a worker gave for a chunk. Throws codec_error when it cannot be the outcomes of up to `items_max` items of
/// `bytes_each`, thrown in process `pid`.
struct flat_content {
    flat_content(decoder& in, std::size_t items_max, std::size_t bytes_each, pid_t pid);

    std::size_t items;
    const std::byte* values;
    std::vector<flat_error> errors;  ///< by their items
};

/// Outcomes of items, in order, of which the first is taken.
template <class T>
class flat_outcomes {
public:
    [[nodiscard]] bool empty() const noexcept { return head_ == cells_.size(); }
    [[nodiscard]] std::size_t size() const noexcept { return cells_.size() - head_; }

    void push_error(std::exception_ptr error) {
        errors_.push_back({cells_.size(), std::move(error)});
        cells_.emplace_back();
        look_for_error();
    }

    void push(flat_content content) {
        const std::size_t before = cells_.size();
        cells_.resize(before + content.items);
        if constexpr (!std::is_same_v<T, std::monostate>) {
            if (content.items != 0) {
                std::memcpy(cells_[before].bytes, content.values, content.items * sizeof(T));
            }
        }
        for (auto& error : content.errors) {
            error.item += before;
            errors_.push_back(std::move(error));
        }
        look_for_error();
    }

    /// Moves the value out, or throws.
    [[nodiscard]] T&& take_front() {
        if (head_ == error_at_) std::rethrow_exception(errors_[error_].what);
        std::byte* bytes = cells_[head_].bytes;
        if constexpr (std::is_same_v<T, bool>) {
            if (*bytes > std::byte{1}) throw_bad_value("a bool that is neither true nor false");
        }
        return std::move(*std::launder(reinterpret_cast<T*>(bytes)));
    }

    void pop_front() noexcept {
        const bool threw = head_ == error_at_;
        ++head_;
        if (threw) {
            ++error_;
            look_for_error();
        }
        if (empty()) {
            cells_.clear();
            errors_.clear();
            head_ = error_ = 0;
            error_at_ = nowhere;
        }
    }

private:
    static constexpr std::size_t nowhere = std::numeric_limits<std::size_t>::max();

    // For a T that may have no default constructor; made without being filled.
    struct cell {
        cell() noexcept {}  // NOLINT(modernize-use-equals-default): that one would fill it
        alignas(T) std::byte bytes[sizeof(T)];
    };

    void look_for_error() noexcept {
        error_at_ = error_ < errors_.size() ? errors_[error_].item : nowhere;
    }

    std::vector<cell> cells_;
    std::size_t head_ = 0;
    std::vector<flat_error> errors_;
    std::size_t error_ = 0;  // the first one that was not passed
    std::size_t error_at_ = nowhere;
};

}  // namespace bulkhead::detail
