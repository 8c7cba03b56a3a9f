// Whether this process is a fork of the one that made an object: threads and children of that one are
// not ours.
#pragma once

#include <atomic>

namespace bulkhead::os {

/// How many forks without exec lie between this process and the program's start, as far as this
/// library could see. An object that remembers it knows when it is used in a fork.
[[nodiscard]] unsigned fork_count() noexcept;
/// The same, for who looks often.
[[nodiscard]] const std::atomic<unsigned>& fork_counter() noexcept;

/// Remembers in which process it was made.
class fork_mark {
public:
    [[nodiscard]] bool in_a_fork() const noexcept { return fork_count() != forks_; }

private:
    unsigned forks_ = fork_count();
};

}  // namespace bulkhead::os
