// Ids by kill(2), start times by /proc/ID/stat.
#include "os/life.hpp"

#include "os/fork_count.hpp"
#include "os/procfs.hpp"

#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <optional>
#include <pthread.h>
#include <unistd.h>

namespace bulkhead::os {
namespace {

/// False also where /proc is that of another PID namespace: there, ids are others'.
bool proc_is_ours() noexcept {
    static const bool is = [] {
        char text[32] = {};
        return ::readlink("/proc/self", text, sizeof text - 1) > 0 && std::atoi(text) == ::getpid();
    }();
    return is;
}

std::optional<process_stat> own_stat_of(pid_t id) noexcept {
    return proc_is_ours() ? stat_of(id) : std::nullopt;
}

std::uint32_t started(const process_stat& line) noexcept {
    return static_cast<std::uint32_t>(line.started_ticks);
}

life life_of(pid_t id) noexcept {
    const auto line = own_stat_of(id);
    return (line ? std::uint64_t{started(*line)} << 32 : 0) | static_cast<std::uint32_t>(id);
}

bool exists(life whose) noexcept {
    const pid_t id = id_of(whose);
    return id > 0 && (::kill(id, 0) == 0 || errno != ESRCH);
}

/// `has_ended` judges a line of its own; threads and processes differ in that.
bool lives(life whose, look how, bool (*has_ended)(const process_stat&)) noexcept {
    if (!exists(whose)) return false;
    if (how == look::quick) return true;
    const auto line = own_stat_of(id_of(whose));
    if (!line) return exists(whose);  // it has just gone, or there is no /proc
    const auto then = static_cast<std::uint32_t>(whose >> 32);
    const bool is_another = then != 0 && started(*line) != then;
    return !is_another && !has_ended(*line);
}

bool is_dead(const process_stat& line) noexcept { return line.state == 'Z' || line.state == 'X'; }

struct remembered {
    unsigned forks = 0;
    life who = 0;
};

/// One for all threads: where /proc could not be read once, it must not be read another time. A fork forgets
/// it before it has a second thread, which could still take it for its own.
std::atomic<life> this_process{0};
const int forgotten_in_forks = ::pthread_atfork(nullptr, nullptr, [] { this_process.store(0); });

}  // namespace

life own_thread() noexcept {
    thread_local remembered self;
    const unsigned forks = fork_count();
    if (self.who == 0 || self.forks != forks) self = {forks, life_of(::gettid())};
    return self.who;
}

life own_process() noexcept {
    (void)forgotten_in_forks;
    life known = this_process.load();
    if (known != 0) return known;
    const life found = life_of(::getpid());
    return this_process.compare_exchange_strong(known, found) ? found : known;
}

bool thread_lives(life whose, look how) noexcept { return lives(whose, how, is_dead); }

bool process_lives(life whose, look how) noexcept {
    // The first thread may have ended, and is a zombie as long as others run.
    return lives(whose, how,
                 [](const process_stat& line) { return is_dead(line) && line.threads <= 1; });
}

}  // namespace bulkhead::os
