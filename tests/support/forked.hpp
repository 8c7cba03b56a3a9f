// Forked children for tests, and the checks that nothing of a test stays behind.
#pragma once

#include "support/events.hpp"

#include <boost/test/unit_test.hpp>

#include <atomic>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <filesystem>
#include <memory>
#include <new>
#include <random>
#include <string>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

namespace test {

/// Runs `body` in a forked child, which ends with 0, or 1 if it throws, and dies with the test.
/// Only while this process has one thread, or others that sleep.
template <class F>
pid_t forked(F&& body) {
    const pid_t pid = ::fork();
    if (pid != 0) return pid;
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    int code = 0;
    try {
        body();
    } catch (const std::exception& failure) {
        std::fprintf(stderr, "child: %s\n", failure.what());
        code = 1;
    }
    ::_exit(code);
}

/// The exit code, or 128 + signal.
inline int ended(pid_t pid, int wait_options = 0) {
    int status = 0;
    if (::waitpid(pid, &status, wait_options) != pid) return -1;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

/// -1 as long as it lives.
inline int ended_already(pid_t pid) { return ended(pid, WNOHANG); }

inline int killed(pid_t pid) {
    ::kill(pid, SIGKILL);
    return ended(pid);
}

/// Zeroed memory that forked children share.
template <class T>
class shared {
public:
    shared()
        : memory_(::mmap(nullptr, sizeof(T), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
                         0)) {
        if (memory_ == MAP_FAILED) throw std::bad_alloc();
        value_ = new (memory_) T();
    }
    ~shared() { ::munmap(memory_, sizeof(T)); }
    shared(const shared&) = delete;
    shared& operator=(const shared&) = delete;

    T& operator*() const noexcept { return *value_; }
    T* operator->() const noexcept { return value_; }

private:
    void* memory_;
    T* value_;
};

inline std::string own_prefix() { return "test-" + std::to_string(::getpid()) + "-"; }

/// A name that no other test has.
inline std::string unique_name() {
    static int count = 0;
    return own_prefix() + std::to_string(count++);
}

/// Random numbers whose seed is printed if the test fails; BULKHEAD_TEST_SEED repeats one.
class random_numbers {
public:
    random_numbers() {
        const char* given = std::getenv("BULKHEAD_TEST_SEED");
        seed_ = given != nullptr ? static_cast<unsigned>(std::strtoul(given, nullptr, 10))
                                 : std::random_device()();
        engine_.seed(seed_);
        BOOST_TEST_MESSAGE("BULKHEAD_TEST_SEED=" << seed_);
    }
    /// 0 to below - 1.
    unsigned operator()(unsigned below) { return static_cast<unsigned>(engine_() % below); }
    [[nodiscard]] unsigned seed() const noexcept { return seed_; }

private:
    unsigned seed_ = 0;
    std::mt19937 engine_;
};

inline std::size_t open_descriptors() {
    std::size_t count = 0;
    for ([[maybe_unused]] const auto& entry :
         std::filesystem::directory_iterator("/proc/self/fd")) {
        ++count;
    }
    return count;
}

inline std::size_t own_names() {
    std::size_t count = 0;
    for (const auto& entry : std::filesystem::directory_iterator("/dev/shm")) {
        if (entry.path().filename().string().find(own_prefix()) != std::string::npos) ++count;
    }
    return count;
}

/// Whether `statement` throws an E whose sentence has `part`.
template <class E, class F>
bool throws(F&& statement, const std::string& part) {
    try {
        statement();
    } catch (const E& failure) {
        BOOST_TEST_MESSAGE(failure.what());
        return std::string(failure.what()).find(part) != std::string::npos;
    }
    return false;
}

/// Fixture: a test leaves no descriptor, child or name in /dev/shm.
struct leaves_nothing {
    ~leaves_nothing() {
        BOOST_TEST(open_descriptors() == descriptors);
        BOOST_TEST(own_names() == 0U);
        BOOST_TEST(::waitpid(-1, nullptr, WNOHANG) == -1);
    }
    std::size_t descriptors = open_descriptors();
};

}  // namespace test
