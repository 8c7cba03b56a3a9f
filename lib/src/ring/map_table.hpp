// The operations on a shared_map's memory, by the owner of its lock.
#pragma once

#include "ring/map_layout.hpp"

#include <cstddef>
#include <new>
#include <span>

namespace bulkhead::ring {

/// A view of a map's memory; holds nothing of its own. But for construct() and the constructor the caller
/// has the lock. Exceptions leave the map as it was.
class map_table {
public:
    using bytes = std::span<const std::byte>;
    using iterator = map_entries::iterator;

    /// Makes an empty map in memory of map_body_bytes(), before anybody else can see it.
    static void construct(std::byte* body, std::size_t capacity_bytes);
    /// Throws bulkhead::error when the memory is no map that this program can read. `what` names the object
    /// in sentences, and outlives the table.
    map_table(std::byte* body, std::size_t body_bytes, const char* what);

    [[nodiscard]] robust_mutex& lock() const noexcept { return layout_.lock; }
    [[nodiscard]] std::size_t capacity_bytes() const noexcept { return capacity_bytes_; }

    /// First of all with the lock: finishes what a dead owner had logged. False when the map is damaged.
    [[nodiscard]] bool settle();
    [[noreturn]] void throw_damaged() const;

    [[nodiscard]] map_entries& entries() const noexcept {
        return *std::launder(reinterpret_cast<map_entries*>(layout_.entries.data()));
    }
    /// end() when there is none.
    [[nodiscard]] iterator find(bytes key) const;
    [[nodiscard]] static bytes key_of(const map_entries::value_type& entry) noexcept;
    /// Throws bulkhead::error when its length is garbage.
    [[nodiscard]] bytes value_of(const map_entries::value_type& entry) const;

    /// Where a key is, or would be.
    struct spot {
        iterator at;
        bool has_key;
    };
    [[nodiscard]] spot spot_of(bytes key) const;

    /// A key that is not there yet, to where it would be. std::length_error when there is no room.
    void add(iterator at, bytes key, bytes value);
    void replace(const iterator& at, bytes value);
    void erase(iterator at);
    /// Also of a damaged map.
    void clear();

private:
    map_table(std::byte* body, std::size_t capacity_bytes) noexcept
        : layout_(*reinterpret_cast<map_layout*>(body)),
          capacity_bytes_(capacity_bytes),
          what_("") {}

    template <class Change>
    void change(const Change& make);
    void enter(map_phase next) noexcept;
    void begin_change();
    void end_change() noexcept;
    void make_anew();
    void overwrite(map_bytes& stored, bytes value);
    [[nodiscard]] map_bytes stored_form(bytes value) const;
    void check_owner() const;
    [[noreturn]] void throw_full(std::size_t wanted_bytes) const;

    [[nodiscard]] std::byte* heap_begin() const noexcept {
        return reinterpret_cast<std::byte*>(&layout_ + 1);
    }
    [[nodiscard]] map_heap& heap() const noexcept {
        return *std::launder(reinterpret_cast<map_heap*>(heap_begin()));
    }

    map_layout& layout_;
    std::size_t capacity_bytes_;  ///< as checked; the memory is not believed twice
    const char* what_;
};

}  // namespace bulkhead::ring
