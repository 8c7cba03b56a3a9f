// A shared_map in shared memory: a Boost.Interprocess map, the heap it lives in, and what makes a death in
// the middle of a change known.
#pragma once

#include "ring/robust_mutex.hpp"

#include <boost/interprocess/allocators/allocator.hpp>
#include <boost/interprocess/containers/map.hpp>
#include <boost/interprocess/containers/string.hpp>
#include <boost/interprocess/indexes/null_index.hpp>
#include <boost/interprocess/mem_algo/rbtree_best_fit.hpp>
#include <boost/interprocess/segment_manager.hpp>
#include <boost/interprocess/sync/mutex_family.hpp>
#include <boost/version.hpp>

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <utility>

namespace bulkhead::ring {

namespace bip = boost::interprocess;

/// Without a lock of its own: ours is around it. Has offsets for pointers.
using map_heap =
    bip::segment_manager<char, bip::rbtree_best_fit<bip::null_mutex_family>, bip::null_index>;
template <class T>
using map_allocator = bip::allocator<T, map_heap>;
using map_bytes = bip::basic_string<char, std::char_traits<char>, map_allocator<char>>;

/// Any order does for finding; most keys differ at the first look in this one.
struct map_order {
    using is_transparent = void;

    template <class A, class B>
    bool operator()(const A& a, const B& b) const noexcept {
        return a.size() != b.size() ? a.size() < b.size() : view(a) < view(b);
    }
    template <class T>
    static std::string_view view(const T& bytes) noexcept {
        return {bytes.data(), bytes.size()};
    }
};

/// A value's bytes begin with its length; behind its end there may be room.
using map_entries =
    bip::map<map_bytes, map_bytes, map_order, map_allocator<std::pair<const map_bytes, map_bytes>>>;
using value_length = std::uint64_t;

/// All of it belongs to the lock's owner, who moves the phase:
///
///            +--(1)--> changing --(2)--+
///   intact --+                         +--> intact
///            +--(3)--> logged --(4)----+
///
///   (1) before the first byte of heap or entries is touched
///   (2) when they are whole again: changed, or as before if there was no room
///   (3) when the log holds a value and its place, both whole
///   (4) when the value is in its place
///
/// Who gets the lock and finds `changing` knows that its owner died between (1) and (2), and leaves heap and
/// entries alone for ever: the map is damaged. Only clear() goes on, from (1) to (2), by making both
/// anew, without a look at what is there. Who finds `logged` writes the value to its place (again) and
/// does (4): the log says the same how often ever that is done. Whatever else is in the phase is garbage,
/// and the map damaged.
///
/// A killed thread has done the stores of some beginning of its instructions, and the kernel hands its lock
/// on after them. So the order that processors give to stores does not matter, the compiler's does: each
/// store of the phase is between two signal fences, over which no other store moves in either direction (what
/// is changed after (1) and (3) must not be before, and a log to come not before (4)). It is a release store,
/// whose partner is the acquire load by the next owner. Of an owner that unlocks, the next one sees all by
/// the lock.
enum class map_phase : std::uint32_t { intact = 0, changing = 1, logged = 2 };

struct alignas(64) map_layout {
    static constexpr std::size_t log_bytes_max = 4096 + 64;  ///< 4 KiB and a length

    robust_mutex lock;
    std::uint64_t capacity_bytes;  ///< constant, as is the next
    std::uint64_t container_word;
    std::atomic<std::uint64_t> size;        ///< for tools; the entries' own counts
    std::atomic<std::uint64_t> free_bytes;  ///< for tools
    std::atomic<map_phase> phase;
    std::uint32_t reserved;
    std::uint64_t log_place;  ///< counted from the layout's beginning
    std::uint64_t log_bytes;
    std::uint64_t reserved_too;
    std::array<std::byte, log_bytes_max> log;
    std::array<std::byte, 128> entries;
    // The heap follows.
};
static_assert(offsetof(map_layout, phase) == 96);
static_assert(offsetof(map_layout, log) == 128);
static_assert(offsetof(map_layout, entries) == 128 + map_layout::log_bytes_max);
static_assert(sizeof(map_layout) == 256 + map_layout::log_bytes_max);
static_assert(sizeof(map_entries) <= sizeof(map_layout::entries));
static_assert(alignof(map_entries) <= 64);
static_assert(std::atomic<map_phase>::is_always_lock_free);

/// What heap and entries look like in memory is Boost's affair, and differs between its releases.
constexpr std::uint64_t map_container_word = (std::uint64_t{BOOST_VERSION} << 32) |
                                             (sizeof(map_entries) << 16) |
                                             sizeof(map_entries::value_type);

/// With what the heap itself needs.
constexpr std::size_t map_heap_bytes(std::size_t capacity_bytes) {
    return (capacity_bytes + 63) / 64 * 64 + 1024;
}
constexpr std::size_t map_body_bytes(std::size_t capacity_bytes) {
    return sizeof(map_layout) + map_heap_bytes(capacity_bytes);
}

}  // namespace bulkhead::ring
