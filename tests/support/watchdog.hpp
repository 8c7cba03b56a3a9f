// Ends a test that hangs.
#pragma once

#include "support/events.hpp"

#include <boost/test/unit_test.hpp>

#include <condition_variable>
#include <csignal>
#include <execinfo.h>
#include <mutex>
#include <sys/syscall.h>
#include <thread>
#include <utility>

namespace test {

/// A test that takes more seconds than these hangs. They are counted one by one, so that minutes in
/// which the whole machine stood still are one of them.
inline constexpr int hang_after_s = sanitized ? 280 : 120;

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
        for (int seconds = 0; seconds != hang_after_s; ++seconds) {
            if (wake_.wait_for(lock, std::chrono::seconds(1), [this] { return over_; })) return;
        }
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

}  // namespace test
