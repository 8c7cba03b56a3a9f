// Where a worker crashed: written by its signal handler into memory that its parent reads after its
// death.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace bulkhead::os {

inline constexpr std::size_t crash_frames_max = 48;
inline constexpr std::size_t crash_modules_max = 12;

/// Plain numbers and text, all zero at first. One thread's handler writes, `state` last; its process
/// may die anywhere in between. The reader copies, then checks.
struct crash_report {
    enum : std::uint32_t { none, writing, written };
    static constexpr std::uint32_t no_module = ~std::uint32_t{0};

    struct frame {
        std::uint64_t offset;  // in the module's file; without a module: the address
        std::uint32_t module;  // index
        std::uint32_t is_return_address;
    };

    std::atomic<std::uint32_t> state;
    std::uint32_t signal;
    std::uint64_t fault_address;
    std::uint64_t stack_pointer;
    std::uint64_t data_bytes;  // private writable memory at that moment, 0 when unknown
    std::int32_t sender;       // the process that sent the signal; 0: the kernel, for a fault
    std::uint32_t frames_count;
    std::array<frame, crash_frames_max> frames;
    std::array<std::array<char, 256>, crash_modules_max> modules;  // their files' paths
};
static_assert(std::atomic<std::uint32_t>::is_always_lock_free);

/// In a worker: a handler for SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGTRAP and SIGSYS, where the
/// program has none, that fills `report` and then lets the signal do what it does by default. On a stack
/// of its own for the calling thread. `report` must outlive the process's last thread.
void report_crashes_to(crash_report& report);

/// What a report says, checked and in words.
struct crash_account {
    int signal = 0;
    bool complete = false;   // the handler came to its end; else the signal is all that is known
    bool by_itself = false;  // a fault, or a signal that it sent itself
    bool stack_overflow = false;
    std::uint64_t fault_address = 0;  // of SIGSEGV, SIGBUS; else 0
    std::uint64_t data_bytes = 0;
    /// Innermost first: "decode_header(char const*)+0x1c", "libpng16.so.16+0x1234". Function names
    /// where this process has the same module loaded and its file has symbols.
    std::vector<std::string> backtrace;
    /// The innermost function that is not of the C or C++ library; empty when there is none.
    std::string where;
};

/// nullopt when no handler ran. `report` may hold any bytes. `pid`: the process that wrote it. `executable`:
/// what it ran, where that is not what this process runs.
[[nodiscard]] std::optional<crash_account> read_crash(const crash_report& report, int pid,
                                                      const std::string& executable = {});

}  // namespace bulkhead::os
