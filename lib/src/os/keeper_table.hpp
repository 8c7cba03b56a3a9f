// What a process and its keeper share: which process groups the one answers for.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <string>
#include <string_view>
#include <sys/types.h>

namespace bulkhead::os {

/// The variable that every process of a compartment has in its environment, by inheritance: the marks
/// of the compartments it is in, outermost first, each behind a slash.
inline constexpr std::string_view compartment_variable = "BULKHEAD_COMPARTMENT";

/// Compartments at a time, those included whose remains have not been looked for yet.
inline constexpr std::size_t keeper_places_max = 1U << 16;

/// Different values of process_pool_options::worker_cgroup in one program from its first pool until it has none
/// any more, and their length.
inline constexpr std::size_t group_directories_max = 8;
inline constexpr std::size_t group_directory_bytes_max = 1024;

/// Memory of the parent and its keeper alone. Places: 0 = free, else number << 32 | process group,
/// with `left` set once the leader has ended.
///   - Only the parent fills a place and sets `left`; only the keeper frees one, and only with `left`.
///   - A place is filled before its leader's first own instruction, and `left` is set after the group
///     was killed and before its number can become another's: what stands in a place without `left` is
///     the keeper's to kill when the parent has died.
///   - The parent may be killed at any instruction, since one store does each of these; so may the
///     keeper, whose successor finds the same places.
struct keeper_table {
    static constexpr std::uint64_t left = std::uint64_t{1} << 63;
    /// In the place of a group's number: only the marks say who belongs to the compartment. Where the
    /// program ignores SIGCHLD, the number is free when the leader ends.
    static constexpr pid_t no_group = 1;

    pid_t parent;
    std::array<char, 44> marks;  // "12345.0123456789abcdef.", what all marks begin with
    /// Directories in which compartments of that mark may have a memory_group; each is written before
    /// the count says that it is there.
    std::array<std::array<char, group_directory_bytes_max>, group_directories_max>
        group_directories;
    std::atomic<std::uint32_t> group_directory_count;
    std::atomic<std::uint32_t> ending;
    std::atomic<std::uint32_t> used;  // places from this one on have never been filled
    std::array<std::atomic<std::uint64_t>, keeper_places_max> places;

    static constexpr std::uint64_t word(std::uint32_t number, pid_t group) {
        return std::uint64_t{number} << 32 | static_cast<std::uint32_t>(group);
    }
    static constexpr std::uint32_t number(std::uint64_t word) {
        return static_cast<std::uint32_t>((word & ~left) >> 32);
    }
    static constexpr pid_t group(std::uint64_t word) {
        return static_cast<pid_t>(static_cast<std::uint32_t>(word));
    }
    [[nodiscard]] std::string mark(std::uint32_t of) const {
        return marks.data() + std::to_string(of);
    }
};
static_assert(std::atomic<std::uint64_t>::is_always_lock_free);
inline constexpr std::uint32_t compartment_number_max = 0x7fff'ffff;

}  // namespace bulkhead::os
