// Sleeping on a word of memory until another thread or process changes it. The kernel forgets a
// sleeper that dies, so nothing in the word's memory ever counts the dead.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <optional>

namespace bulkhead::os {

/// Whether the word is waited on by threads of one process only (quicker), or may lie in memory that
/// processes share. Waiters and wakers must agree.
enum class futex_scope { process_private, shared };

/// Waiters may name the wake-ups that concern them: a wake-up reaches those whose bits it shares.
inline constexpr std::uint32_t every_bit = 0xffffffff;

/// Sleeps while `word` holds `expected`. False when the deadline passed; true otherwise: woken, the
/// word differed, a signal arrived, or for no reason at all, so the caller looks again.
bool futex_wait(const std::atomic<std::uint32_t>& word, std::uint32_t expected,
                std::optional<std::chrono::steady_clock::time_point> deadline, futex_scope scope,
                std::uint32_t bits = every_bit);

/// Wakes up to `count` sleepers; how many it woke.
int futex_wake(const std::atomic<std::uint32_t>& word, int count, futex_scope scope,
               std::uint32_t bits = every_bit);

}  // namespace bulkhead::os
