// The line on stderr that says how far a stream has come.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>

namespace bulkhead::tools {

class progress {
public:
    /// `forced`: also when stderr is no terminal, then a line each time. Otherwise only on a terminal
    /// on which the stream itself does not run (`data_fd`).
    progress(std::string program, bool forced, int data_fd);
    ~progress() { finish(); }
    progress(const progress&) = delete;
    progress& operator=(const progress&) = delete;

    void add(std::uint64_t messages, std::uint64_t bytes) {
        messages_ += messages;
        bytes_ += bytes;
        if (shown_) show_if_due();
    }
    [[nodiscard]] std::uint64_t messages() const noexcept { return messages_; }

    /// Shows the last figures and ends the line. Before anything else is printed.
    void finish() noexcept;

private:
    using clock = std::chrono::steady_clock;
    void show_if_due();
    void show(clock::time_point now) const;

    std::string program_;
    bool shown_;
    bool on_terminal_;
    std::uint64_t messages_ = 0;
    std::uint64_t bytes_ = 0;
    clock::time_point started_ = clock::now();
    clock::time_point due_;
};

}  // namespace bulkhead::tools
