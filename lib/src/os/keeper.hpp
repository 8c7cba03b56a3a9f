// The keeper: a small process beside this one, which ends what this one no longer can. A process that
// is killed cannot kill its workers' children; and a child that left its worker's process group is not
// reached by a signal to it.
#pragma once

#include "os/fd.hpp"
#include "os/fork_count.hpp"
#include "os/launch.hpp"
#include "os/memfd.hpp"

#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <sys/types.h>
#include <vector>

namespace bulkhead::os {

struct keeper_table;

/// It exists while somebody in this process holds it, and is started again when it was killed.
/// Thread-safe.
class keeper : public std::enable_shared_from_this<keeper> {
public:
    /// One compartment's: a process group, and all that descends from its leader.
    class place {
    public:
        place() = default;
        place(place&& other) noexcept;
        place& operator=(place&& other) noexcept;
        ~place() { leave(); }

        /// Tells the compartment from all others, in this program and out of it.
        [[nodiscard]] std::string mark() const;
        /// For the environment of the leader.
        [[nodiscard]] std::string variable() const;
        /// From now on the group (or keeper_table::no_group) dies with this process.
        void watch(pid_t group) noexcept;
        /// The group has been killed and its leader not reaped: the keeper looks for descendants that
        /// had left the group, and kills them. At once for the caller, but for the last one of this
        /// process: then the keeper ends, which takes a look through /proc. revive() after it.
        void leave() noexcept;

    private:
        friend class keeper;
        place(std::shared_ptr<keeper> owner, std::uint32_t index, std::uint32_t number) noexcept
            : keeper_(std::move(owner)), index_(index), number_(number) {}

        std::shared_ptr<keeper> keeper_;
        std::uint32_t index_ = 0;
        std::uint32_t number_ = 0;
        bool watched_ = false;
    };

    /// The keeper of this process, perhaps not started yet. Throws pool_broken with the cause.
    [[nodiscard]] static std::shared_ptr<keeper> of_this_process();

    /// Starts this process's keeper again if it has been killed, which nobody may have noticed since: for
    /// what a compartment leaves. Not under a lock that others wait for: it takes an exec then. Does
    /// nothing when it has none, or cannot: its end, and the next start, try again.
    static void revive() noexcept;

    /// Waits until it has ended whatever it still had to.
    ~keeper();
    keeper(const keeper&) = delete;
    keeper& operator=(const keeper&) = delete;

    /// Throws pool_broken when there are too many.
    [[nodiscard]] place new_place();
    /// From now on a compartment's memory_group in this directory is removed once all in it have ended.
    /// Throws pool_broken when there are too many directories.
    void remove_groups_in(const std::string& directory);
    /// Starts it if it has not been, or has been killed. Throws pool_broken with the cause.
    void see_that_it_lives();
    [[nodiscard]] pid_t pid() const;

private:
    keeper();
    void start();
    /// False when it had to be killed.
    bool end() noexcept;
    [[nodiscard]] static std::weak_ptr<keeper>& current();
    /// Of compartments that have been left.
    [[nodiscard]] bool has_remains() const noexcept;
    [[nodiscard]] bool in_a_fork() const noexcept { return made_.in_a_fork(); }

    std::mutex start_mutex_;  // while a keeper is started; before mutex_
    mutable std::mutex mutex_;
    fork_mark made_;
    unique_fd memory_;
    mapping mapped_;
    keeper_table* table_ = nullptr;
    unique_fd bell_;
    launched process_;
    std::vector<std::uint32_t> given_back_;  // places that are free, or that the keeper will free
    std::uint32_t never_used_ = 0;           // this place and all behind it
    std::uint32_t last_number_ = 0;
};

/// The marks that this process has itself, "" outside of all compartments. Read once, at init().
[[nodiscard]] const std::string& outer_compartments();
/// How many pools and processes of pools and processes this process is in.
[[nodiscard]] std::size_t outer_levels();

/// A process started with this as its first argument is a keeper, and never comes as far as the
/// program's own constructors or main().
inline constexpr const char* keeper_flag = "--bulkhead-keeper";
/// Does nothing; a reference to it makes the linker take the keeper out of a static library.
void link_keeper() noexcept;

}  // namespace bulkhead::os
