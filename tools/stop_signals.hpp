// SIGINT and SIGTERM as something to look at; a second one ends the program at once.
#pragma once

#include <chrono>
#include <csignal>
#include <exception>

namespace bulkhead::tools {

/// Thrown where a signal is found: the program ends with 128 + signal.
class stopped : public std::exception {
public:
    explicit stopped(int signal) noexcept : signal_(signal) {}
    [[nodiscard]] int signal() const noexcept { return signal_; }
    [[nodiscard]] const char* what() const noexcept override { return "stopped by a signal"; }

private:
    int signal_;
};

/// Installs the handlers, and ignores SIGPIPE (a write then fails with EPIPE). Once, in main.
void catch_stop_signals();

/// Throws stopped if one has arrived.
void check_stop_signals();

/// Waits until `fd` can be read (or written: POLLIN, POLLOUT of `events`) without missing a signal.
/// False after `limit`. Throws stopped.
bool wait_for(int fd, short events, std::chrono::milliseconds limit);

}  // namespace bulkhead::tools
