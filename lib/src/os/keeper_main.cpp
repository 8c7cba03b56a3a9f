// The keeper's own process: sleeps until its parent dies or a compartment has been left, and then kills
// what is there. It survives its parent, belongs to no compartment of its, and ends when nothing is left.
#include "os/doorbell.hpp"
#include "os/keeper.hpp"
#include "os/keeper_table.hpp"
#include "os/memory_group.hpp"
#include "os/procfs.hpp"

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <fcntl.h>
#include <optional>
#include <poll.h>
#include <ranges>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <unordered_map>
#include <unordered_set>
#include <vector>

namespace bulkhead::os {
namespace {

using clock = std::chrono::steady_clock;

/// Of one core at most this part goes into looking through /proc, however often workers crash.
constexpr int rest_per_search = 19;
constexpr clock::duration rest_min = std::chrono::milliseconds(1);
/// A process that does not die of SIGKILL (it waits for a device), or does not come through its exec (its
/// program lies on a file system that does not answer), is given up on after so many looks,
constexpr int looks_max = 1000;
/// and a machine that starts others all the time, so that no look at it is conclusive, after so many.
constexpr int passes_max = 3000;
/// So many of them follow each other without a rest when all that is new has gone again at once.
constexpr int hasty_passes_max = 100;
constexpr useconds_t between_passes_us = 1000;
/// Attempts at removing a memory cgroup whose killed processes have not ended yet. One with a daemon in it,
/// which is meant to stay, is left.
constexpr int group_removals_max = 100;
/// Of an environment: where the variable lies farther behind, the process is not found.
constexpr std::size_t environment_bytes_max = std::size_t{4} << 20;

/// The whole of a process's or thread's environment; empty when it has none (any more), nullopt when it
/// is another user's, whom no signal of ours would reach.
std::optional<std::string> environment_in(const std::string& directory) {
    std::string text;
    const unique_fd file(::open((directory + "/environ").c_str(), O_RDONLY | O_CLOEXEC));
    if (!file) return errno == EACCES || errno == EPERM ? std::nullopt : std::optional(text);
    while (text.size() < environment_bytes_max) {
        const std::size_t before = text.size();
        text.resize(before + (std::size_t{16} << 10));
        const ssize_t got = ::read(file.get(), text.data() + before, text.size() - before);
        text.resize(before + static_cast<std::size_t>(std::max<ssize_t>(got, 0)));
        if (got <= 0) break;
    }
    return text;
}

/// The environment that a process was started with. Its memory is not to be had by the process's number
/// once its first thread has ended and others go on.
std::optional<std::string> environment_of(pid_t pid) {
    const std::string process = "/proc/" + std::to_string(pid);
    auto environment = environment_in(process);
    if (!environment || !environment->empty()) return environment;
    const std::string threads = process + "/task";
    for (const pid_t thread : ids_in(threads)) {
        environment = environment_in(threads + "/" + std::to_string(thread));
        if (!environment || !environment->empty()) break;
    }
    return environment;
}

/// The value of our variable in an environment.
std::string_view compartments_in(std::string_view environment) {
    while (!environment.empty()) {
        const std::string_view variable = environment.substr(0, environment.find('\0'));
        if (variable.starts_with(compartment_variable) &&
            variable.substr(compartment_variable.size()).starts_with('=')) {
            return variable.substr(compartment_variable.size() + 1);
        }
        environment.remove_prefix(std::min(environment.size(), variable.size() + 1));
    }
    return {};
}

/// Which compartments' remains are looked for.
struct search {
    std::string every;  // all marks that begin so; empty: none
    std::unordered_set<std::string> marks;

    [[nodiscard]] bool finds(std::string_view compartments) const {
        while (!compartments.empty()) {
            compartments.remove_prefix(1);
            const std::string_view mark = compartments.substr(0, compartments.find('/'));
            if (!every.empty() && mark.starts_with(every)) return true;
            if (marks.contains(std::string(mark))) return true;
            compartments.remove_prefix(mark.size());
        }
        return false;
    }
};

enum class finding : std::uint8_t {
    gone,     ///< ended since it was listed, perhaps after it had started another
    unknown,  ///< just becoming another program: it has no environment yet
    foreign,  ///< not looked for, nor will be
    killed,   ///< and may have started another before
};

finding kill_if_found(pid_t pid, const search& what) {
    const auto environment = environment_of(pid);
    if (!environment) return finding::foreign;
    if (environment->empty()) {
        const auto stat = stat_of(pid);
        constexpr unsigned long kernel_thread = 0x00200000;  // PF_KTHREAD of linux/sched.h
        if (!stat) return finding::gone;
        const bool ended = (stat->state == 'Z' && stat->threads < 2) || stat->state == 'X';
        const bool is_kernels = (stat->flags & kernel_thread) != 0;
        return ended || has_empty_environment(*stat) || is_kernels ? finding::foreign
                                                                   : finding::unknown;
    }
    if (!what.finds(compartments_in(*environment))) return finding::foreign;
    const unique_fd pidfd(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
    if (!pidfd) return errno == ESRCH ? finding::gone : finding::unknown;
    // Once more, now that the number cannot become another's.
    const auto again = environment_of(pid);
    if (!again || !what.finds(compartments_in(*again))) return finding::unknown;
    ::syscall(SYS_pidfd_send_signal, pidfd.get(), SIGKILL, nullptr, 0);
    return finding::killed;
}

/// Until a look at all processes of one moment shows none that had not been seen to be foreign before
/// that moment. Less does not do: what is looked for may start another, and end, between the moment at
/// which the processes are listed and that at which it is looked at. False when it could not look.
bool kill_all(const search& what) {
    std::unordered_map<pid_t, int> looks_left;
    int settled_passes = 0;
    for (int pass = 0; pass != passes_max; ++pass) {
        const auto listed = ids_in("/proc");
        if (listed.empty()) return false;
        std::unordered_map<pid_t, int> seen;
        bool settled = true;
        bool wait = false;
        // The newest first: they are the likeliest to be gone soon.
        for (const pid_t pid : listed | std::views::reverse) {
            if (pid == ::getpid()) continue;
            const auto before = looks_left.find(pid);
            int left = before == looks_left.end() ? looks_max : before->second;
            if (left != 0) {
                settled = false;
                const finding now = kill_if_found(pid, what);
                if (now == finding::foreign) left = 0;
                if (now == finding::unknown || now == finding::killed) {
                    --left;
                    wait = true;
                }
            }
            seen.emplace(pid, left);
        }
        // Twice: where numbers begin anew at the lowest, one may pass behind the list while it is made.
        settled_passes = settled ? settled_passes + 1 : 0;
        if (settled_passes == 2) return true;
        looks_left.swap(seen);
        wait = wait || pass > hasty_passes_max;
        if (wait) ::usleep(between_passes_us);
    }
    return true;
}

class watch {
public:
    watch(keeper_table& table, int bell) : table_(table), bell_(bell) {}

    [[noreturn]] void run() {
        const unique_fd parent(static_cast<int>(::syscall(SYS_pidfd_open, table_.parent, 0)));
        const bool cannot_watch = !parent && errno != ESRCH;
        // Its number may be another's if it has died already.
        if (::getppid() != table_.parent || (!parent && !cannot_watch)) end_all();
        if (cannot_watch) ::_exit(1);  // no descriptors: the parent will try again
        while (true) {
            pollfd events[] = {{parent.get(), POLLIN, 0}, {bell_, POLLIN, 0}};
            (void)::poll(events, 2, searched_all_ ? -1 : timeout_ms());
            // An end of the bell without a death: the parent has become another program.
            if (events[0].revents != 0 || !silence(bell_)) end_all();
            if (table_.ending.load() != 0) {
                while (!look_for_remains()) {
                }
                ::_exit(0);
            }
            if (clock::now() >= rested_at_) searched_all_ = look_for_remains();
        }
    }

private:
    [[nodiscard]] int timeout_ms() const {
        const auto rest = std::chrono::ceil<std::chrono::milliseconds>(rested_at_ - clock::now());
        return static_cast<int>(std::clamp<std::int64_t>(rest.count(), 0, 60'000));
    }

    /// True when none is left over. One search for all that have been left by now.
    bool look_for_remains() {
        search what;
        std::vector<std::size_t> left;
        for (std::size_t i = 0; i != table_.places.size() && i < table_.used.load(); ++i) {
            const std::uint64_t word = table_.places[i].load();
            if ((word & keeper_table::left) == 0) continue;
            what.marks.insert(table_.mark(keeper_table::number(word)));
            left.push_back(i);
        }
        if (left.empty()) return true;
        const auto began = clock::now();
        const bool done = kill_all(what);
        const auto ended = clock::now();
        rested_at_ = ended + std::max(rest_per_search * (ended - began), rest_min);
        if (!done) return table_.ending.load() != 0;  // later, if there is a later
        for (const std::size_t i : left) {
            const auto mark = table_.mark(keeper_table::number(table_.places[i].load()));
            for (const std::string& directory : group_directories()) {
                remove_group(memory_group_path(directory, mark));
            }
            table_.places[i].store(0);
        }
        return false;  // more may have been left in the meantime
    }

    [[noreturn]] void end_all() {
        for (std::size_t i = 0; i != table_.places.size() && i < table_.used.load(); ++i) {
            const std::uint64_t word = table_.places[i].load();
            const pid_t group = keeper_table::group(word);
            if (word != 0 && (word & keeper_table::left) == 0 && group > 1) {
                ::kill(-group, SIGKILL);
            }
        }
        search all;
        all.every = table_.marks.data();
        (void)kill_all(all);
        for (const std::string& directory : group_directories()) {
            // By their names: the parent may have died before it told of the last one.
            for (const auto& path : memory_groups_in(directory, table_.marks.data())) {
                remove_group(path);
            }
        }
        ::_exit(0);
    }

    [[nodiscard]] std::vector<std::string> group_directories() const {
        const auto& all = table_.group_directories;
        const std::size_t count =
            std::min<std::size_t>(table_.group_directory_count.load(), all.size());
        std::vector<std::string> directories;
        for (std::size_t i = 0; i != count; ++i) directories.emplace_back(all[i].data());
        return directories;
    }

    /// What was in it has been killed, and may not be gone yet.
    static void remove_group(const std::string& path) {
        for (int attempt = 0; attempt != group_removals_max; ++attempt) {
            if (::rmdir(path.c_str()) == 0 || errno != EBUSY) return;
            ::usleep(between_passes_us);
        }
    }

    keeper_table& table_;
    int bell_;
    clock::time_point rested_at_{};
    bool searched_all_ = true;
};

[[noreturn]] void refuse() {
    (void)std::fprintf(stderr, "bulkhead: %s\n", not_for_users);
    ::_exit(2);
}

[[noreturn]] void keep(const std::vector<int>& fds) {
    if (fds.size() != 2 || !is_sealed_memory(fds[0], sizeof(keeper_table))) refuse();
    ::prctl(PR_SET_NAME, "bulkhead-keeper");
    ignore_signals_for_programs();  // again: shared libraries may have set handlers of their own
    ::prctl(PR_SET_PDEATHSIG, SIGCONT);  // again: an exec that gives rights takes it away
    if (::chdir("/") != 0) {
        // It only holds its directory's file system a little longer.
    }
    const mapping mapped = map_shared(fds[0], sizeof(keeper_table), "the keeper's table");
    watch(*reinterpret_cast<keeper_table*>(mapped.data()), fds[1]).run();
}

/// Before the constructors of the program, which are none of the keeper's business. The arguments are
/// glibc's (its dynamic loader hands them to every initialiser).
[[gnu::constructor(101)]] void become_keeper(int argc, char** argv, char** /*environment*/) {
    if (argc != 4 || std::string_view(argv[1]) != keeper_flag) return;
    try {
        // Without a parent it has all the more to do.
        if (await_start(argv[3]) == start_signal::not_ours) refuse();
        keep(parse_fd_list(argv[2]));
    } catch (...) {
        ::_exit(1);
    }
}

}  // namespace

void link_keeper() noexcept {}

}  // namespace bulkhead::os
