// Pipes from workers, and the two threads behind them.
#include "pool/output_relay.hpp"

#include "os/own_thread.hpp"

#include <bulkhead/error.hpp>

#include <boost/asio/post.hpp>

#include <algorithm>
#include <array>
#include <cerrno>
#include <fcntl.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <unistd.h>

namespace bulkhead::detail {
namespace {

/// What a worker may have written while the reading thread waits for a CPU. The kernel may give less.
constexpr int pipe_bytes = 1 << 20;
/// A line without an end is passed on in parts.
constexpr std::size_t line_bytes_max = std::size_t{64} * 1024;
constexpr std::size_t read_bytes = std::size_t{16} * 1024;
/// How long a non-blocking standard error may stay full.
constexpr int write_patience_ms = 1000;
/// Reads before the reading thread looks at other workers.
constexpr int reads_in_a_row = 64;

std::pair<os::unique_fd, os::unique_fd> make_pipe() {
    int ends[2];
    if (::pipe2(ends, O_CLOEXEC) != 0) {
        throw error("bulkhead: cannot make a pipe for a worker's output: " + os::errno_text(errno));
    }
    auto here = os::above_stdio(os::unique_fd(ends[0]));
    auto there = os::above_stdio(os::unique_fd(ends[1]));
    ::fcntl(here.get(), F_SETFL, O_NONBLOCK);
    ::fcntl(here.get(), F_SETPIPE_SZ, pipe_bytes);
    return {std::move(here), std::move(there)};
}

void write_all(int fd, std::string_view bytes) noexcept {
    while (!bytes.empty()) {
        const auto written = ::write(fd, bytes.data(), bytes.size());
        if (written < 0 && errno == EINTR) continue;
        if (written < 0 && errno == EAGAIN) {  // somebody has made it non-blocking
            pollfd room{fd, POLLOUT, 0};
            if (::poll(&room, 1, write_patience_ms) > 0) continue;
        }
        if (written <= 0) return;
        bytes.remove_prefix(static_cast<std::size_t>(written));
    }
}

}  // namespace

worker_streams::worker_streams(output_relay& relay, std::function<std::string()> task_name)
    : relay_(relay), task_name_(std::move(task_name)), out_(relay.io_), err_(relay.io_) {
    auto [err_here, err_there] = make_pipe();
    err_.is_stderr = true;
    err_.end.assign(err_here.release());
    err_there_ = std::move(err_there);
    if (relay.policy_.callback()) {
        auto [out_here, out_there] = make_pipe();
        out_.end.assign(out_here.release());
        out_there_ = std::move(out_there);
    } else if (relay.policy_.discards()) {
        out_there_ = os::unique_fd(::open("/dev/null", O_WRONLY | O_CLOEXEC));
        if (!out_there_) throw error("bulkhead: /dev/null does not open: " + os::errno_text(errno));
        out_there_ = os::above_stdio(std::move(out_there_));
    }
}

void worker_streams::launched(pid_t pid) {
    const std::lock_guard lock(mutex_);
    pid_ = pid;
    out_there_.reset();
    err_there_.reset();
    out_.open = out_.end.is_open();
    err_.open = true;
    boost::asio::post(relay_.io_, [self = shared_from_this()] {
        for (stream* from : {&self->out_, &self->err_}) {
            if (from->end.is_open()) self->wait(*from);
        }
    });
}

void worker_streams::wait(stream& from) {
    from.end.async_wait(
        boost::asio::posix::stream_descriptor::wait_read,
        [self = shared_from_this(), &from](const boost::system::error_code& cancelled) {
            if (!cancelled && self->drain(from)) self->wait(from);
        });
}

bool worker_streams::drain(stream& from) {
    std::array<char, read_bytes> buffer;
    for (int i = 0; i != reads_in_a_row; ++i) {
        std::size_t bytes = buffer.size();
        std::string name;
        if (relay_.policy_.callback()) {
            // First what is there, then whose it is: a task does not end before that has been read.
            bytes = std::min(bytes, unread_bytes(from));
            if (bytes != 0) name = task_name_();
        }
        const std::lock_guard lock(mutex_);
        if (!from.open) return false;
        if (bytes == 0) {
            pollfd more{from.end.native_handle(), POLLIN, 0};
            if (::poll(&more, 1, 0) <= 0) return true;
            if ((more.revents & POLLIN) != 0) continue;
            return false;  // its end
        }
        const auto got = ::read(from.end.native_handle(), buffer.data(), bytes);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) return errno == EAGAIN;
        if (got == 0) return false;
        take(from, {buffer.data(), static_cast<std::size_t>(got)}, name);
    }
    return true;
}

std::size_t worker_streams::unread_bytes(stream& from) const {
    const std::lock_guard lock(mutex_);
    int bytes = 0;
    if (!from.open || ::ioctl(from.end.native_handle(), FIONREAD, &bytes) != 0) return 0;
    return static_cast<std::size_t>(bytes);
}

void worker_streams::take(stream& from, std::string_view bytes, const std::string& task_name) {
    if (from.is_stderr) {
        tail_.append(bytes.substr(bytes.size() - std::min(bytes.size(), stderr_tail_bytes_max)));
        if (tail_.size() > stderr_tail_bytes_max) {
            tail_.erase(0, tail_.size() - stderr_tail_bytes_max);
        }
    }
    if (relay_.policy_.inherits()) {
        relay_.pass_on({.is_line = false, .line = {.text = std::string(bytes)}});
        return;
    }
    if (relay_.policy_.discards()) return;
    while (!bytes.empty()) {
        const auto end = bytes.find('\n');
        from.unfinished_line.append(bytes.substr(0, end));
        if (end != std::string_view::npos || from.unfinished_line.size() > line_bytes_max) {
            end_line(from, task_name);
        }
        bytes.remove_prefix(end == std::string_view::npos ? bytes.size() : end + 1);
    }
}

void worker_streams::end_line(stream& from, const std::string& task_name) {
    relay_.pass_on({.is_line = true,
                    .line = {.pid = pid_,
                             .task_name = task_name,
                             .text = std::exchange(from.unfinished_line, {}),
                             .is_stderr = from.is_stderr}});
}

void worker_streams::finish() {
    for (stream* from : {&out_, &err_}) {
        // What a process that outlives the worker goes on writing does not keep this up.
        (void)drain(*from);
        const std::string name = relay_.policy_.callback() ? task_name_() : std::string();
        const std::lock_guard lock(mutex_);
        if (!std::exchange(from->open, false)) continue;
        if (!from->unfinished_line.empty()) end_line(*from, name);
    }
    // Asio's part, on the thread that waits.
    boost::asio::post(relay_.io_, [self = shared_from_this()] {
        for (stream* from : {&self->out_, &self->err_}) {
            boost::system::error_code ignored;
            from->end.close(ignored);
        }
    });
}

std::string worker_streams::stderr_tail() const {
    const std::lock_guard lock(mutex_);
    // From the beginning of a line, if it was cut.
    const auto line = tail_.size() == stderr_tail_bytes_max ? tail_.find('\n') : std::string::npos;
    return line == std::string::npos ? tail_ : tail_.substr(line + 1);
}

output_relay::output_relay(output_policy policy) : policy_(std::move(policy)) {
    // Makes the context's descriptors now: a lack of them is told by the pool's constructor.
    const boost::asio::posix::stream_descriptor reactor(io_);
    reader_ = os::start_thread([this] {
        os::block_signals();
        io_.run();
    });
    try {
        deliverer_ = os::start_thread([this] {
            os::block_signals();
            deliver();
        });
    } catch (...) {
        io_.stop();
        reader_.join();
        throw;
    }
}

output_relay::~output_relay() {
    io_.stop();
    reader_.join();
    {
        const std::lock_guard lock(mutex_);
        over_ = true;
    }
    wake_.notify_one();
    deliverer_.join();
}

std::shared_ptr<worker_streams> output_relay::open(std::function<std::string()> task_name) {
    return std::shared_ptr<worker_streams>(new worker_streams(*this, std::move(task_name)));
}

void output_relay::pass_on(parcel what) {
    const std::size_t bytes = what.line.text.size() + sizeof what;
    {
        const std::lock_guard lock(mutex_);
        if (bytes_ + bytes > unread_output_bytes_max) {
            ++dropped_;
            return;
        }
        bytes_ += bytes;
        parcels_.push_back(std::move(what));
    }
    wake_.notify_one();
}

void output_relay::flush() {
    if (std::this_thread::get_id() == deliverer_.get_id()) return;
    std::unique_lock lock(mutex_);
    calm_.wait(lock, [this] { return parcels_.empty() && !delivering_; });
}

void output_relay::deliver() {
    std::unique_lock lock(mutex_);
    while (true) {
        if (parcels_.empty()) {
            delivering_ = false;
            calm_.notify_all();
        }
        wake_.wait(lock, [this] { return over_ || !parcels_.empty(); });
        if (parcels_.empty()) return;
        delivering_ = true;
        const parcel next = std::move(parcels_.front());
        parcels_.pop_front();
        bytes_ -= next.line.text.size() + sizeof next;
        const std::size_t dropped = parcels_.empty() ? std::exchange(dropped_, 0) : 0;
        lock.unlock();
        deliver(next);
        if (dropped != 0) {
            const std::string note = "bulkhead: " + std::to_string(dropped) +
                                     " pieces of workers' output were dropped: nobody read them in "
                                     "time";
            deliver({.is_line = next.is_line,
                     .line = {.text = next.is_line ? note : note + "\n", .is_stderr = true}});
        }
        lock.lock();
    }
}

void output_relay::deliver(const parcel& what) noexcept {
    if (!what.is_line) {
        write_all(STDERR_FILENO, what.line.text);
        return;
    }
    try {
        policy_.callback()(what.line);
    } catch (...) {
        // Documented: an observer's trouble is its own.
    }
}

}  // namespace bulkhead::detail
