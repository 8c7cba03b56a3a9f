// Threads and processes as shared memory knows them: an id alone may by now be somebody else's.
#pragma once

#include <cstdint>
#include <sys/types.h>

namespace bulkhead::os {

/// The id in the lower half; in the upper half when it started (clock ticks since boot, which wrap after
/// 497 days), 0 when that cannot be told. Never 0 as a whole. Means something in one PID namespace only.
using life = std::uint64_t;

/// Of the calling thread or process; cheap but for the first time in each, also after a fork.
[[nodiscard]] life own_thread() noexcept;
[[nodiscard]] life own_process() noexcept;
[[nodiscard]] constexpr pid_t id_of(life whose) noexcept {
    return static_cast<pid_t>(whose & 0xffffffff);
}

/// How closely to look. `quick` is one system call and sees what has been reaped; `thorough` reads
/// /proc (some 20 us) and also sees zombies, and ids that are somebody else's by now; without /proc, or a
/// free descriptor, it sees no more than the quick one.
enum class look { quick, thorough };
[[nodiscard]] bool thread_lives(life whose, look how) noexcept;
[[nodiscard]] bool process_lives(life whose, look how) noexcept;

}  // namespace bulkhead::os
