// In a worker: std::stop_token for the task that runs.
#pragma once

#include "channel/worker_port.hpp"
#include "os/own_thread.hpp"

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <stop_token>

namespace bulkhead::detail {

/// Turns the parent's wish that a task stop into its stop_token. The thread exists once a task has
/// taken a token, and looks only while such a task runs.
class stop_watcher {
public:
    static constexpr std::chrono::milliseconds look_every{5};

    explicit stop_watcher(const channel::worker_port& port) : port_(port) {
        os::start_thread([this] { run(); }).detach();  // ends with the process
    }

    std::stop_token watch(std::uint64_t ticket) {
        const std::lock_guard lock(mutex_);
        ticket_ = ticket;
        source_ = std::stop_source();
        wake_.notify_one();
        return source_.get_token();
    }
    void done() {
        const std::lock_guard lock(mutex_);
        ticket_ = 0;
    }

private:
    void run() {
        std::unique_lock lock(mutex_);
        while (true) {
            if (ticket_ == 0) {
                wake_.wait(lock);
            } else if (port_.stop_requested(ticket_)) {
                ticket_ = 0;
                std::stop_source source = source_;
                lock.unlock();
                source.request_stop();  // runs the task's stop callbacks
                lock.lock();
            } else {
                wake_.wait_for(lock, look_every);
            }
        }
    }

    const channel::worker_port& port_;
    std::mutex mutex_;
    std::condition_variable wake_;
    std::uint64_t ticket_ = 0;
    std::stop_source source_;
};

}  // namespace bulkhead::detail
