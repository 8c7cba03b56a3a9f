// What /proc, /sys and limits tell of processes and this machine.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <sys/types.h>
#include <vector>

namespace bulkhead::os {

/// From now on this process cannot have more private writable memory than this (RLIMIT_DATA): what
/// would need more fails, std::bad_alloc in C++.
void limit_own_memory(std::uint64_t bytes) noexcept;
/// Resident memory of this process that no other shares, 0 when unknown.
[[nodiscard]] std::uint64_t own_private_bytes() noexcept;
/// Resident memory of a process, 0 when unknown.
[[nodiscard]] std::uint64_t resident_bytes(pid_t pid) noexcept;

/// Of proc_pid_stat(5); the kernel answers for threads' ids too.
struct process_stat {
    char state;
    unsigned long flags;  ///< PF_... of linux/sched.h
    unsigned threads;
    std::uint64_t started_ticks;  ///< since boot
    /// Where its code lies: 0 between the two programs of an exec, and when its memory is gone; 1 where this process
    /// may not trace it.
    std::uint64_t code_begin;
    /// Addresses of its environment, or 0. Between the two programs of an exec they are equal for a while, as those of an
    /// empty one are (create_elf_tables() in the kernel's fs/binfmt_elf.c).
    std::uint64_t environment_begin;
    std::uint64_t environment_end;
};
/// It has no environment and never will have one, rather than none yet.
[[nodiscard]] bool has_empty_environment(const process_stat& of) noexcept;
/// nullopt when there is no such thread, or no /proc. Allocates nothing.
[[nodiscard]] std::optional<process_stat> stat_of(pid_t id) noexcept;

/// The processes of one moment, or the threads of a process (a directory of /proc whose entries are ids).
/// Empty when it cannot be read.
[[nodiscard]] std::vector<pid_t> ids_in(const std::string& directory);

/// How many processes the kernel's OOM killer has killed in this process's memory cgroup (v2 or v1; the
/// whole machine where there is none). It only grows; 0 when unknown.
[[nodiscard]] std::uint64_t oom_kills() noexcept;

/// CPUs this process may use: its affinity mask and cgroup v2 quota, at least 1.
[[nodiscard]] unsigned usable_cpus() noexcept;

}  // namespace bulkhead::os
