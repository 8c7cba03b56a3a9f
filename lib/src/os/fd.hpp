// File descriptors that close themselves, and errno turned into sentences.
#pragma once

#include <cerrno>
#include <cstdint>
#include <string>
#include <system_error>
#include <unistd.h>
#include <utility>

namespace bulkhead::os {

/// Owns one file descriptor; -1 is none.
class unique_fd {
public:
    unique_fd() = default;
    explicit unique_fd(int fd) noexcept : fd_(fd) {}
    unique_fd(unique_fd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
    unique_fd& operator=(unique_fd&& other) noexcept {
        if (this != &other) reset(std::exchange(other.fd_, -1));
        return *this;
    }
    ~unique_fd() { reset(); }

    [[nodiscard]] int get() const noexcept { return fd_; }
    [[nodiscard]] int release() noexcept { return std::exchange(fd_, -1); }
    explicit operator bool() const noexcept { return fd_ >= 0; }

    void reset(int fd = -1) noexcept {
        if (fd_ >= 0) ::close(fd_);
        fd_ = fd;
    }

private:
    int fd_ = -1;
};

/// Another descriptor of the same open file, close-on-exec. Throws bulkhead::error.
[[nodiscard]] unique_fd duplicate(int fd);

/// The same, numbered 3 or more: a program may have been started without stdin, stdout or stderr, and
/// what a child gets must not take their places. Throws bulkhead::error.
[[nodiscard]] unique_fd above_stdio(unique_fd fd);

/// A file or shared memory of so many bytes is more than this process's limit (RLIMIT_FSIZE, "ulimit -f")
/// allows: to make it would end the process, by SIGXFSZ.
[[nodiscard]] bool exceeds_file_limit(std::uint64_t bytes) noexcept;

/// The first of the last descriptors that this process's limit (RLIMIT_NOFILE, "ulimit -n") allows: 64, or a quarter
/// of a small limit.
[[nodiscard]] std::uint64_t reserve_begin() noexcept;

/// "Too many open files (EMFILE)".
[[nodiscard]] std::string errno_text(int error);

}  // namespace bulkhead::os
