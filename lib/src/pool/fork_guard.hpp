// What both pools do in a fork of the process that made them.
#pragma once

#include "os/fork_count.hpp"

#include <bulkhead/error.hpp>

#include <memory>
#include <string>
#include <utility>

namespace bulkhead::detail {

/// Knows the process that it was made in.
class fork_guard {
public:
    /// `kind`: of pool, for the sentence.
    explicit fork_guard(const char* kind) noexcept : kind_(kind) {}

    [[nodiscard]] bool in_a_fork() const noexcept { return made_.in_a_fork(); }
    /// Throws usage_error in a fork: the pool's threads, and whoever had a lock, are not there.
    void check_process() const {
        if (!in_a_fork()) return;
        throw usage_error(std::string("bulkhead: a ") + kind_ +
                          ", or a future of one, was used in a fork of the process that made it: "
                          "make the pool after the fork");
    }

private:
    const char* kind_;
    os::fork_mark made_;
};

/// The core of a pool one of whose members is called. Throws as check_process().
template <class Core>
[[nodiscard]] Core& usable(const std::shared_ptr<Core>& core) {
    core->check_process();
    return *core;
}

/// What a pool's destructor does.
template <class Core>
void end_pool(std::shared_ptr<Core>& core) {
    if (core->in_a_fork()) {
        // Threads and workers are another process's: there is nothing here to end, and no way.
        // NOLINTNEXTLINE(bugprone-unhandled-exception-at-new)
        new std::shared_ptr<Core>(std::move(core));
        return;
    }
    core->finish();
}

}  // namespace bulkhead::detail
