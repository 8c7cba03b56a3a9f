// What workers write: read at once by one thread, so that no worker waits, kept for
// worker_crashed::stderr_tail(), and passed on by another thread, which may be slow.
#pragma once

#include "os/fd.hpp"

#include <bulkhead/worker_output.hpp>

#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>

#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>

namespace bulkhead::detail {

/// The last of a worker's standard error: at most so much of it.
inline constexpr std::size_t stderr_tail_bytes_max = 4096;

class output_relay;

/// The two streams of one worker. Thread-safe.
class worker_streams : public std::enable_shared_from_this<worker_streams> {
public:
    /// What a worker that is about to be spawned gets; -1: what this process has.
    [[nodiscard]] int out_for_worker() const noexcept { return out_there_.get(); }
    [[nodiscard]] int err_for_worker() const noexcept { return err_there_.get(); }
    /// The worker has its ends: reading begins.
    void launched(pid_t pid);
    /// The worker is dead: reads what is left of its output, and no more from then on.
    void finish();
    /// The last lines of its standard error. After finish() nothing is missing.
    [[nodiscard]] std::string stderr_tail() const;

private:
    friend class output_relay;

    struct stream {
        explicit stream(boost::asio::io_context& io) : end(io) {}
        boost::asio::posix::stream_descriptor end;
        std::string unfinished_line{};
        bool is_stderr = false;
        bool open = false;
    };

    worker_streams(output_relay& relay, std::function<std::string()> task_name);
    void wait(stream& from);
    /// Reads until there is nothing; false at the end of the stream.
    bool drain(stream& from);
    [[nodiscard]] std::size_t unread_bytes(stream& from) const;
    void take(stream& from, std::string_view bytes, const std::string& task_name);
    void end_line(stream& from, const std::string& task_name);

    output_relay& relay_;
    std::function<std::string()> task_name_;
    mutable std::mutex mutex_;
    os::unique_fd out_there_;
    os::unique_fd err_there_;
    stream out_;
    stream err_;
    std::string tail_;
    pid_t pid_ = 0;
};

class output_relay {
public:
    /// Throws os::thread_failure, boost::system::system_error.
    explicit output_relay(output_policy policy);
    output_relay(const output_relay&) = delete;
    output_relay& operator=(const output_relay&) = delete;
    /// Passes on what has been read.
    ~output_relay();

    /// For one worker; `task_name` tells which task it runs. Throws bulkhead::error.
    [[nodiscard]] std::shared_ptr<worker_streams> open(std::function<std::string()> task_name);

    /// Waits until what has been read is passed on; not within a callback, which is a part of that.
    void flush();

private:
    friend class worker_streams;

    struct parcel {
        bool is_line = false;  // else bytes for this process's standard error
        output_line line;
    };

    void pass_on(parcel what);
    void deliver();
    void deliver(const parcel& what) noexcept;

    output_policy policy_;
    boost::asio::io_context io_{1};
    boost::asio::executor_work_guard<boost::asio::io_context::executor_type> work_{
        io_.get_executor()};
    std::mutex mutex_;
    std::condition_variable wake_;
    std::condition_variable calm_;
    std::deque<parcel> parcels_;
    std::size_t bytes_ = 0;
    std::size_t dropped_ = 0;
    bool delivering_ = false;
    bool over_ = false;
    std::thread reader_;
    std::thread deliverer_;
};

}  // namespace bulkhead::detail
