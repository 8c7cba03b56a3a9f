// Progress on stderr.
#include "progress.hpp"

#include <algorithm>
#include <cstdio>
#include <unistd.h>

namespace bulkhead::tools {
namespace {

constexpr auto interval = std::chrono::milliseconds(500);

}  // namespace

progress::progress(std::string program, bool forced, int data_fd)
    : program_(std::move(program)),
      shown_(forced || (::isatty(STDERR_FILENO) != 0 && ::isatty(data_fd) == 0)),
      on_terminal_(::isatty(STDERR_FILENO) != 0),
      due_(started_ + interval) {}

void progress::show_if_due() {
    const auto now = clock::now();
    if (now < due_) return;
    due_ = now + interval;
    show(now);
}

void progress::show(clock::time_point now) const {
    const double mib = static_cast<double>(bytes_) / (1 << 20);
    const double seconds = std::max(std::chrono::duration<double>(now - started_).count(), 1e-6);
    std::fprintf(stderr, "%s%s: %llu messages, %.1f MiB, %.1f MiB/s%s", on_terminal_ ? "\r" : "",
                 program_.c_str(), static_cast<unsigned long long>(messages_), mib, mib / seconds,
                 on_terminal_ ? "\033[K" : "\n");
}

void progress::finish() noexcept {
    if (!shown_) return;
    shown_ = false;
    show(clock::now());
    if (on_terminal_) std::fputc('\n', stderr);
}

}  // namespace bulkhead::tools
