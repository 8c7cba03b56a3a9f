// From /proc/ID/stat, see proc_pid_stat(5), which the kernel answers for threads' ids too.
#include "os/life.hpp"

#include "os/fd.hpp"
#include "os/fork_count.hpp"

#include <atomic>
#include <cerrno>
#include <charconv>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <fcntl.h>
#include <optional>
#include <string_view>
#include <unistd.h>

namespace bulkhead::os {
namespace {

struct stat_line {
    char state;
    unsigned threads;
    std::uint32_t started;
};

constexpr unsigned state_field = 3;
constexpr unsigned threads_field = 20;
constexpr unsigned start_time_field = 22;

/// False also where /proc is that of another PID namespace: there, ids are others'.
bool proc_is_ours() noexcept {
    static const bool is = [] {
        char text[32] = {};
        return ::readlink("/proc/self", text, sizeof text - 1) > 0 && std::atoi(text) == ::getpid();
    }();
    return is;
}

/// nullopt when there is no such thread, or no /proc.
std::optional<stat_line> stat_of(pid_t id) noexcept {
    if (!proc_is_ours()) return std::nullopt;
    char path[32];
    (void)std::snprintf(path, sizeof path, "/proc/%d/stat", static_cast<int>(id));
    const unique_fd file(::open(path, O_RDONLY | O_CLOEXEC));
    char text[1024];
    const auto got = file ? ::read(file.get(), text, sizeof text) : -1;
    if (got <= 0) return std::nullopt;
    std::string_view rest(text, static_cast<std::size_t>(got));
    // The program's name, in parentheses, may hold anything.
    const auto name_end = rest.rfind(") ");
    if (name_end == std::string_view::npos) return std::nullopt;
    rest.remove_prefix(name_end + 2);
    stat_line line{};
    for (unsigned field = state_field; !rest.empty(); ++field) {
        const auto end = rest.find(' ');
        const std::string_view word = rest.substr(0, end);
        const char* const last = word.data() + word.size();
        std::uint64_t number = 0;
        if (field == state_field) line.state = word.front();
        if (field == threads_field) std::from_chars(word.data(), last, line.threads);
        if (field == start_time_field) {
            std::from_chars(word.data(), last, number);
            line.started = static_cast<std::uint32_t>(number);
            return line;
        }
        rest.remove_prefix(end == std::string_view::npos ? rest.size() : end + 1);
    }
    return std::nullopt;
}

life life_of(pid_t id) noexcept {
    const auto line = stat_of(id);
    return (line ? std::uint64_t{line->started} << 32 : 0) | static_cast<std::uint32_t>(id);
}

bool exists(life whose) noexcept {
    const pid_t id = id_of(whose);
    return id > 0 && (::kill(id, 0) == 0 || errno != ESRCH);
}

/// What /proc says of it: nullopt when nothing.
std::optional<stat_line> still_there(life whose, bool& is_another) noexcept {
    const auto line = stat_of(id_of(whose));
    const auto started = static_cast<std::uint32_t>(whose >> 32);
    is_another = line && started != 0 && line->started != started;
    return line;
}

struct remembered {
    unsigned forks = 0;
    life who = 0;
};

}  // namespace

life own_thread() noexcept {
    thread_local remembered self;
    const unsigned forks = fork_count();
    if (self.who == 0 || self.forks != forks) self = {forks, life_of(::gettid())};
    return self.who;
}

life own_process() noexcept {
    // One for all threads: where /proc could not be read once, it must not be read another time.
    static std::atomic<life> self{0};
    static std::atomic<unsigned> forks_then{0};
    const unsigned forks = fork_count();
    if (forks_then.exchange(forks) != forks) self.store(0);
    life known = self.load();
    if (known != 0) return known;
    const life found = life_of(::getpid());
    return self.compare_exchange_strong(known, found) ? found : known;
}

bool thread_lives(life whose, look how) noexcept {
    if (!exists(whose)) return false;
    if (how == look::quick) return true;
    bool is_another = false;
    const auto line = still_there(whose, is_another);
    if (!line) return exists(whose);  // it has just gone, or there is no /proc
    return !is_another && line->state != 'Z' && line->state != 'X';
}

bool process_lives(life whose, look how) noexcept {
    if (!exists(whose)) return false;
    if (how == look::quick) return true;
    bool is_another = false;
    const auto line = still_there(whose, is_another);
    if (!line) return exists(whose);
    // The first thread may have ended, and is a zombie as long as others run.
    const bool ended = (line->state == 'Z' || line->state == 'X') && line->threads <= 1;
    return !is_another && !ended;
}

}  // namespace bulkhead::os
