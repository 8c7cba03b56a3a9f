// What every process test stands on: the fixture that checks that nothing is left behind, and a few
// tasks.
#pragma once

#include "support/events.hpp"
#include "support/watchdog.hpp"

#include <boost/test/unit_test.hpp>
#include <bulkhead/bulkhead.hpp>

#include <cerrno>
#include <csignal>
#include <stdexcept>
#include <stop_token>
#include <string>
#include <sys/wait.h>
#include <thread>
#include <tuple>
#include <type_traits>
#include <unistd.h>
#include <vector>

namespace test {

/// What the kernel does behind a death (orphans of a killed group) may take a moment.
inline constexpr std::chrono::seconds settle_within{30};

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

/// What most claims about futures and their tasks hold for: for BOOST_AUTO_TEST_CASE_TEMPLATE.
using executors = std::tuple<bulkhead::process_pool, bulkhead::thread_pool>;

template <class Pool>
using options_of =
    std::conditional_t<std::is_same_v<Pool, bulkhead::process_pool>, bulkhead::process_pool_options,
                       bulkhead::thread_pool_options>;

// ---- tasks and futures

/// Says who runs it, then runs until told to stop.
inline pid_t hold(const fs::path& started, const fs::path& release) {
    announce_pid(started);
    await(release);
    return ::getpid();
}

/// The same, until it is asked to stop.
inline pid_t until_stopped(std::stop_token token, const fs::path& started) {
    announce_pid(started);
    until([&] { return token.stop_requested(); });
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
inline bool balances(const bulkhead::pool_stats& s) {
    return s.submitted ==
           s.queued + s.running + s.succeeded + s.failed + s.crashed + s.timed_out + s.cancelled;
}
inline void check_balance(const bulkhead::pool_stats& s) { BOOST_TEST(balances(s)); }

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
