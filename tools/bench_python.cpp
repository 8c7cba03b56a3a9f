// Runs bench_peers.py, a new Python for each measurement, which prints one number.
#include "bench_python.hpp"

#include <array>
#include <cerrno>
#include <charconv>
#include <fcntl.h>
#include <spawn.h>
#include <stdexcept>
#include <sys/wait.h>
#include <system_error>
#include <unistd.h>

namespace bulkhead::tools {
namespace {

/// bench_peers.py, put in at build time.
constexpr const char* script =
#include "bench_peers_script.inc"
    ;

[[noreturn]] void fail(int error, const char* call) {
    throw std::system_error(error, std::generic_category(), call);
}

std::string read_all(int fd) {
    std::string text;
    std::array<char, 4096> buffer;
    for (;;) {
        const ssize_t got = ::read(fd, buffer.data(), buffer.size());
        if (got > 0) text.append(buffer.data(), static_cast<std::size_t>(got));
        if (got == 0 || (got < 0 && errno != EINTR)) return text;
    }
}

struct script_end {
    int status = 0;  // as from waitpid
    std::string printed;
};

/// nullopt when there is no such interpreter.
std::optional<script_end> run_script(std::string interpreter, const std::string& which,
                                     const std::string& argument) {
    std::array<int, 2> ends;
    if (::pipe2(ends.data(), O_CLOEXEC) != 0) fail(errno, "pipe2");
    posix_spawn_file_actions_t actions;
    ::posix_spawn_file_actions_init(&actions);
    ::posix_spawn_file_actions_adddup2(&actions, ends[1], STDOUT_FILENO);
    std::array<std::string, 5> words{std::move(interpreter), "-c", script, which, argument};
    std::array<char*, 6> arguments{};
    for (std::size_t i = 0; i != words.size(); ++i) arguments[i] = words[i].data();
    pid_t child = 0;
    const int error =
        ::posix_spawnp(&child, words[0].c_str(), &actions, nullptr, arguments.data(), environ);
    ::posix_spawn_file_actions_destroy(&actions);
    ::close(ends[1]);
    if (error != 0) {
        ::close(ends[0]);
        if (error == ENOENT) return std::nullopt;
        fail(error, "cannot start Python");
    }
    std::string printed = read_all(ends[0]);
    ::close(ends[0]);
    int status = 0;
    while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
    }
    while (printed.ends_with('\n')) printed.pop_back();
    return script_end{status, std::move(printed)};
}

contender python_peer(std::string name, std::string interpreter, std::string which) {
    const auto measure = [interpreter = std::move(interpreter),
                          which = std::move(which)](double run_s) {
        const auto end = run_script(interpreter, which, std::to_string(run_s));
        if (!end || end->status != 0) {
            throw std::runtime_error("the Python peer '" + which + "' failed");
        }
        const std::string& printed = end->printed;
        double value = 0;
        const char* last = printed.data() + printed.size();
        const auto [stop, error] = std::from_chars(printed.data(), last, value);
        if (error != std::errc() || stop != last) {
            throw std::runtime_error("the Python peer '" + which + "' printed no number but '" +
                                     printed + "'");
        }
        return value;
    };
    return {std::move(name), measure};
}

/// Debian's first, which its packages belong to: one in PATH may be somebody's own build, without the
/// optimisation by profiles that Debian's has.
constexpr std::array<const char*, 2> interpreters{"/usr/bin/python3", "python3"};

std::optional<std::string> interpreter_with(const std::string& module) {
    for (const char* interpreter : interpreters) {
        const auto end = run_script(interpreter, "has", module);
        if (end && end->status == 0) return interpreter;
    }
    return std::nullopt;
}

std::optional<std::string> standard_interpreter() {
    for (const char* interpreter : interpreters) {
        const auto end = run_script(interpreter, "version", "");
        if (end && end->status == 0) return interpreter;
    }
    return std::nullopt;
}

struct peer {
    const char* figure;
    const char* name;
    const char* which;
};
constexpr std::array<peer, 16> standard_peers{{
    {"submit-1", "Pool(1).apply_async", "pool submit 1"},
    {"submit-1", "ProcessPoolExecutor(1).submit", "futures submit 1"},
    {"submit-2", "Pool(2).apply_async", "pool submit 2"},
    {"submit-2", "ProcessPoolExecutor(2).submit", "futures submit 2"},
    {"submit-8", "Pool(8).apply_async", "pool submit 8"},
    {"submit-8", "ProcessPoolExecutor(8).submit", "futures submit 8"},
    {"submit-64", "Pool(64).apply_async", "pool submit 64"},
    {"round-trip-1", "Pool(1).apply_async", "pool trip 1"},
    {"round-trip-1", "ProcessPoolExecutor(1).submit", "futures trip 1"},
    {"round-trip-2", "Pool(2).apply_async", "pool trip 2"},
    {"idle-trip", "ProcessPoolExecutor(1).submit", "futures idle-trip 1"},
    {"map", "Pool(2).map", "pool map 2"},
    {"echo", "ProcessPoolExecutor(1), bytes", "futures echo 1"},
    {"first-result", "Pool(2)", "pool first 2"},
    {"first-result", "ProcessPoolExecutor(2)", "futures first 2"},
    {"queue", "multiprocessing.Queue", "queue"},
}};
constexpr std::array<peer, 4> loky_peers{{
    {"submit-1", "loky (joblib), 1", "loky submit 1"},
    {"submit-2", "loky (joblib), 2", "loky submit 2"},
    {"round-trip-1", "loky (joblib), 1", "loky trip 1"},
    {"echo", "loky (joblib), 1, bytes", "loky echo 1"},
}};
constexpr std::array<peer, 4> mpi_peers{{
    {"submit-1", "mpi4py.futures, 1", "mpi submit 1"},
    {"submit-2", "mpi4py.futures, 2", "mpi submit 2"},
    {"round-trip-1", "mpi4py.futures, 1", "mpi trip 1"},
    {"echo", "mpi4py.futures, 1, bytes", "mpi echo 1"},
}};

template <std::size_t Count>
void add(std::vector<figure>& figures, const std::string& interpreter,
         const std::array<peer, Count>& peers) {
    for (figure& measured : figures) {
        for (const peer& p : peers) {
            if (measured.name != p.figure) continue;
            measured.contenders.push_back(python_peer(p.name, interpreter, p.which));
        }
    }
}

}  // namespace

std::optional<std::string> python_version() {
    const auto interpreter = standard_interpreter();
    if (!interpreter) return std::nullopt;
    return run_script(*interpreter, "version", "")->printed + " (" + *interpreter + ")";
}

std::vector<std::string> add_python_peers(std::vector<figure>& figures) {
    std::vector<std::string> missing;
    if (const auto interpreter = standard_interpreter()) {
        add(figures, *interpreter, standard_peers);
    }
    if (const auto with_loky = interpreter_with("joblib")) {
        add(figures, *with_loky, loky_peers);
    } else {
        missing.emplace_back("joblib (loky)");
    }
    if (const auto with_mpi = interpreter_with("mpi4py")) {
        add(figures, *with_mpi, mpi_peers);
    } else {
        missing.emplace_back("mpi4py");
    }
    return missing;
}

}  // namespace bulkhead::tools
