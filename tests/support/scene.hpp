// What every process test stands on: a watchdog, files as events between processes, and the check
// that a test leaves nothing behind.
#pragma once

#include <boost/test/unit_test.hpp>
#include <bulkhead/bulkhead.hpp>

#include <cerrno>
#include <chrono>
#include <condition_variable>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <execinfo.h>
#include <filesystem>
#include <fstream>
#include <mutex>
#include <optional>
#include <sstream>
#include <string>
#include <string_view>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>
#include <utility>
#include <vector>

namespace test {

namespace fs = std::filesystem;
using namespace std::chrono_literals;

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
inline constexpr bool sanitized = true;
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
inline constexpr bool sanitized = true;
#else
inline constexpr bool sanitized = false;
#endif
#else
inline constexpr bool sanitized = false;
#endif

/// A test that takes longer hangs.
inline constexpr std::chrono::seconds hang_after{sanitized ? 280 : 120};
/// What the kernel does behind a death (orphans of a killed group) may take a moment.
inline constexpr std::chrono::seconds settle_within{30};

// ---- events: a file that comes into being at once, with what it says

inline void announce(const fs::path& file, std::string_view text = {}) {
    const fs::path unfinished = file.string() + ".tmp" + std::to_string(::getpid());
    std::ofstream(unfinished, std::ios::binary) << text;
    fs::rename(unfinished, file);
}

inline void announce_pid(const fs::path& file) { announce(file, std::to_string(::getpid())); }

template <class Predicate>
void until(Predicate&& is_so) {
    while (!is_so()) ::usleep(500);
}

inline std::string content(const fs::path& file) {
    std::ifstream in(file, std::ios::binary);
    return {std::istreambuf_iterator<char>(in), {}};
}

/// Waits for an announcement.
inline std::string await(const fs::path& file) {
    until([&] { return fs::exists(file); });
    return content(file);
}

inline pid_t await_pid(const fs::path& file) { return static_cast<pid_t>(std::stoi(await(file))); }

/// One record of several processes into one file.
inline void append_line(const fs::path& file, const std::string& line) {
    std::FILE* out = std::fopen(file.c_str(), "a");
    if (out == nullptr) std::abort();
    std::fprintf(out, "%s\n", line.c_str());
    std::fclose(out);
}

inline std::vector<std::string> lines_of(const fs::path& file) {
    std::vector<std::string> lines;
    std::ifstream in(file);
    for (std::string line; std::getline(in, line);) lines.push_back(line);
    return lines;
}

// ---- processes

/// R, S, D, T, Z, ... of a process (or "PID/task/TID"); 0 when there is none.
inline char process_state(const std::string& process) {
    std::ifstream file("/proc/" + process + "/stat");
    std::string line;
    std::getline(file, line);
    const auto end = line.rfind(')');
    return end == std::string::npos || end + 2 >= line.size() ? '\0' : line[end + 2];
}

inline bool is_dead(pid_t pid) {
    const char state = process_state(std::to_string(pid));
    return state == '\0' || state == 'Z' || state == 'X';
}

/// Not even a zombie is left.
inline bool is_gone(pid_t pid) { return process_state(std::to_string(pid)) == '\0'; }

inline void await_dead(pid_t pid) {
    until([&] { return is_dead(pid); });
}

inline constexpr const char* mark_variable = "BULKHEAD_TEST_MARK";

/// Every living process that inherited this mark in its environment, whoever its parent is now.
inline std::vector<pid_t> processes_marked(const std::string& mark) {
    const std::string wanted = std::string(mark_variable) + "=" + mark;
    std::vector<pid_t> found;
    for (const auto& entry : fs::directory_iterator("/proc")) {
        const std::string name = entry.path().filename();
        if (name.find_first_not_of("0123456789") != std::string::npos) continue;
        const auto pid = static_cast<pid_t>(std::stol(name));
        if (pid == ::getpid()) continue;
        std::istringstream variables(content(entry.path() / "environ"));
        for (std::string one; std::getline(variables, one, '\0');) {
            if (one == wanted && !is_dead(pid)) {
                found.push_back(pid);
                break;
            }
        }
    }
    return found;
}

/// The library's names in /dev/shm that belong to the process `pid`.
inline std::vector<std::string> shm_names_of(pid_t pid) {
    const std::string owner = "-" + std::to_string(pid) + ".";
    std::vector<std::string> names;
    std::error_code ignored;
    for (const auto& entry : fs::directory_iterator("/dev/shm", ignored)) {
        const std::string name = entry.path().filename();
        if (name.find("bulkhead") != std::string::npos && name.find(owner) != std::string::npos) {
            names.push_back(name);
        }
    }
    return names;
}

inline std::vector<std::string> open_files() {
    std::vector<std::string> targets;
    for (const auto& entry : fs::directory_iterator("/proc/self/fd")) {
        std::error_code ignored;
        targets.push_back(entry.path().filename().string() + " -> " +
                          fs::read_symlink(entry.path(), ignored).string());
    }
    return targets;
}

template <class Values>
std::string joined(const Values& values) {
    std::ostringstream text;
    for (const auto& value : values) text << "\n  " << value;
    return text.str();
}

// ---- hangs

/// Ends the program, with the stacks of its threads, when a test hangs.
class watchdog {
public:
    explicit watchdog(std::string mark)
        : test_(boost::unit_test::framework::current_test_case().full_name()),
          mark_(std::move(mark)),
          thread_([this] { watch(); }) {}
    ~watchdog() {
        {
            const std::lock_guard lock(mutex_);
            over_ = true;
        }
        wake_.notify_one();
        thread_.join();
    }
    watchdog(const watchdog&) = delete;
    watchdog& operator=(const watchdog&) = delete;

private:
    void watch() {
        std::unique_lock lock(mutex_);
        if (wake_.wait_for(lock, hang_after, [this] { return over_; })) return;
        std::fprintf(stderr, "\nwatchdog: %s hangs\n", test_.c_str());
        for (const pid_t pid : processes_marked(mark_)) {
            const auto directory = fs::path("/proc") / std::to_string(pid);
            std::fprintf(stderr, "watchdog: process %d (%c) waits in %s\n", static_cast<int>(pid),
                         process_state(std::to_string(pid)), content(directory / "wchan").c_str());
        }
        dump_stacks();
        std::abort();
    }

    static void dump_stacks() {
        void* preload[1];
        (void)::backtrace(preload, 1);
        struct sigaction dump {};
        dump.sa_handler = [](int) {
            void* frames[64];
            const int depth = ::backtrace(frames, 64);
            static constexpr std::string_view title = "watchdog: a thread's stack\n";
            [[maybe_unused]] const auto written =
                ::write(STDERR_FILENO, title.data(), title.size());
            ::backtrace_symbols_fd(frames, depth, STDERR_FILENO);
        };
        ::sigaction(SIGUSR1, &dump, nullptr);
        for (const auto& entry : fs::directory_iterator("/proc/self/task")) {
            const auto tid = std::stol(entry.path().filename());
            if (tid == ::gettid()) continue;
            ::syscall(SYS_tgkill, ::getpid(), tid, SIGUSR1);
            ::usleep(200'000);
        }
    }

    std::string test_;
    std::string mark_;
    std::mutex mutex_;
    std::condition_variable wake_;
    bool over_ = false;
    std::thread thread_;
};

// ---- the fixture

/// Per test: a watchdog and a directory for its files; at the end no child, zombie or other
/// descendant, no name in /dev/shm and no more descriptors than before.
class scene {
public:
    scene() : mark_(next_mark()), dog_(mark_) {
        warm_up();
        ::setenv(mark_variable, mark_.c_str(), 1);
        std::string pattern = fs::temp_directory_path() / "bulkhead-test-XXXXXX";
        if (::mkdtemp(pattern.data()) == nullptr) throw std::runtime_error("mkdtemp");
        directory_ = pattern;
        files_before_ = open_files();
    }

    ~scene() {
        const pid_t child = ::waitpid(-1, nullptr, WNOHANG);
        BOOST_TEST((child == -1 && errno == ECHILD), "a child or zombie is left: " << child);
        const auto deadline = std::chrono::steady_clock::now() + settle_within;
        while (!processes_marked(mark_).empty() && std::chrono::steady_clock::now() < deadline) {
            ::usleep(1000);
        }
        const auto left = processes_marked(mark_);
        BOOST_TEST(left.empty(), "descendants are left:" << joined(left));
        owners_.push_back(::getpid());
        for (const pid_t owner : owners_) {
            const auto names = shm_names_of(owner);
            BOOST_TEST(names.empty(), "left in /dev/shm:" << joined(names));
        }
        const auto files = open_files();
        BOOST_TEST(files.size() == files_before_.size(),
                   "open before:" << joined(files_before_) << "\nnow:" << joined(files));
        std::error_code ignored;
        fs::remove_all(directory_, ignored);
    }

    scene(const scene&) = delete;
    scene& operator=(const scene&) = delete;

    /// A file of this test.
    [[nodiscard]] fs::path file(const std::string& name) const { return directory_ / name; }
    [[nodiscard]] const std::string& mark() const noexcept { return mark_; }
    /// The end looks for this process's names in /dev/shm too.
    void owns_names(pid_t pid) { owners_.push_back(pid); }

private:
    static std::string next_mark() {
        static int count = 0;
        return std::to_string(::getpid()) + "-" + std::to_string(count++);
    }

    /// What the library makes once and keeps: its spawning thread.
    static void warm_up() {
        static const bool once = [] {
            bulkhead::process_pool(1).submit([] {}).get();
            bulkhead::process([] {}).join();
            return true;
        }();
        (void)once;
    }

    std::string mark_;
    watchdog dog_;
    fs::path directory_;
    std::vector<std::string> files_before_;
    std::vector<pid_t> owners_;
};

// ---- tasks and futures

/// Says who runs it, then runs until told to stop.
inline pid_t hold(const fs::path& started, const fs::path& release) {
    announce_pid(started);
    await(release);
    return ::getpid();
}

/// Says who runs it, then never ends.
[[noreturn]] inline void hang(const fs::path& started) {
    announce_pid(started);
    while (true) ::pause();
}

inline pid_t whoami() { return ::getpid(); }
inline int square(int x) { return x * x; }

/// What get() throws, which must be an E.
template <class E, class T>
E error_of(bulkhead::future<T> future) {
    try {
        (void)future.get();
    } catch (const E& expected) {
        return expected;
    }
    throw std::runtime_error("nothing was thrown");
}

inline bool contains(const std::string& text, const std::string& part) {
    return text.find(part) != std::string::npos;
}

/// No task is lost in the figures.
inline void check_balance(const bulkhead::pool_stats& s) {
    BOOST_TEST(s.submitted == s.queued + s.running + s.succeeded + s.failed + s.crashed +
                                  s.timed_out + s.cancelled);
}

/// The pids of all workers, once every one has its process and can take tasks.
template <class Pool>
std::vector<pid_t> pids_of(const Pool& pool) {
    std::vector<pid_t> pids;
    until([&] {
        pids.clear();
        for (const auto& worker : pool.workers()) {
            if (worker.pid != 0 && worker.state != bulkhead::worker_state::starting) {
                pids.push_back(worker.pid);
            }
        }
        return pids.size() == pool.workers().size();
    });
    return pids;
}

}  // namespace test
