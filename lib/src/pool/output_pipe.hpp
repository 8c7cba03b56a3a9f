// In a worker: whether the parent has read what it wrote.
#pragma once

#include <chrono>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

namespace bulkhead::detail {

/// A pipe to the parent, as this process was born with it; a task may put something else in its place.
class output_pipe {
public:
    explicit output_pipe(int fd) noexcept
        : fd_(fd), is_pipe_(look(born_) && S_ISFIFO(born_.st_mode)) {}

    /// Waits until the parent has read what is in it.
    void await_reader(std::chrono::steady_clock::time_point until) const noexcept {
        struct stat now {};
        if (!is_pipe_ || !has_unread() || !look(now)) return;
        if (now.st_dev != born_.st_dev || now.st_ino != born_.st_ino) return;
        while (has_unread() && std::chrono::steady_clock::now() < until) ::usleep(50);
    }

private:
    bool look(struct stat& at) const noexcept { return ::fstat(fd_, &at) == 0; }
    [[nodiscard]] bool has_unread() const noexcept {
        int bytes = 0;
        return ::ioctl(fd_, FIONREAD, &bytes) == 0 && bytes != 0;
    }

    int fd_;
    struct stat born_ {};
    bool is_pipe_;
};

}  // namespace bulkhead::detail
