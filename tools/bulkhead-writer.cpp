// Puts the records of its input on a named queue.
#include "boost_queue.hpp"
#include "frame.hpp"
#include "progress.hpp"
#include "stop_signals.hpp"
#include "stream_options.hpp"
#include "stream_queue.hpp"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <optional>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

namespace {

using namespace bulkhead::tools;

/// Messages that are put in one go, at most.
constexpr std::size_t batch_max = 512;

constexpr stream_program program{
    "bulkhead-writer",
    BULKHEAD_VERSION,
    "QUEUE [FILE...]",
    "Puts each line of the FILEs, or of standard input (also -), as a message on the named QUEUE,\n"
    "waiting while it is full. Makes the queue if there is none. Several writers can share a "
    "queue;\n"
    "the last to end closes it, and its readers then end, too. One that comes before these have "
    "read\n"
    "all of it goes on with the same stream.\n",
    true,
    "at the end of the last FILE wait for it to grow, as tail -f does"};

/// Between looks at a file that may grow.
constexpr std::chrono::milliseconds growth_poll_interval{50};

class input {
public:
    /// `follow`: the end of a regular file is not its end.
    input(const std::string& file, bool follow, const stream_options& options)
        : name_(file == "-" ? "standard input" : file), follow_(follow), options_(options) {
        if (file != "-") fd_ = owned_ = ::open(file.c_str(), O_RDONLY | O_CLOEXEC);
        if (fd_ < 0) fail("cannot open ");
        struct stat about {};
        is_regular_ = ::fstat(fd_, &about) == 0 && S_ISREG(about.st_mode);
    }
    ~input() {
        if (owned_ >= 0) ::close(owned_);
    }
    input(const input&) = delete;
    input& operator=(const input&) = delete;

    [[nodiscard]] int fd() const noexcept { return fd_; }

    /// How many bytes it read; 0 at the end. nullopt: the file has been cut, and what comes is a new beginning.
    std::optional<std::size_t> read(std::span<std::byte> to) const {
        const idle_timer idle(options_.timeout);
        for (;;) {
            // A regular file never keeps one waiting.
            while (!is_regular_ && !wait_for(fd_, POLLIN, std::chrono::hours(1))) {
            }
            check_stop_signals();
            const ssize_t got = ::read(fd_, to.data(), to.size());
            if (got == 0 && follow_ && is_regular_) {
                if (!await_growth(idle)) return std::nullopt;
                continue;
            }
            if (got >= 0) return static_cast<std::size_t>(got);
            if (errno != EINTR && errno != EAGAIN) fail("cannot read ");
        }
    }

private:
    /// False when it has been cut.
    bool await_growth(const idle_timer& idle) const {
        struct stat about {};
        const ::off_t here = ::lseek(fd_, 0, SEEK_CUR);
        if (::fstat(fd_, &about) == 0 && about.st_size < here) {
            std::fprintf(stderr, "%s: %s has been cut; going on from its beginning\n", program.name,
                         name_.c_str());
            ::lseek(fd_, 0, SEEK_SET);
            return false;
        }
        idle.check("its file to grow, for", options_.queue);
        (void)wait_for(-1, 0, growth_poll_interval);
        return true;
    }

    [[noreturn]] void fail(const char* what) const {
        throw std::runtime_error(what + name_ + ": " + std::strerror(errno));
    }

    std::string name_;
    int fd_ = STDIN_FILENO;
    int owned_ = -1;
    bool is_regular_ = false;
    bool follow_;
    const stream_options& options_;
};

class writer {
public:
    explicit writer(const stream_options& options)
        : options_(options),
          to_(options.boost ? open_boost_sink(options) : open_sink(options)),
          splitter_(options.how, to_->message_bytes_max(),
                    options.boost ? "; whoever makes it has to make a larger one"
                                  : "; remove the queue and make a larger one with --capacity"),
          left_(options.count.value_or(UINT64_MAX)),
          progress_(program.name, options.progress, STDIN_FILENO) {}

    /// False when enough was put.
    bool copy(const input& from) {
        while (left_ != 0) {
            const auto room = splitter_.room();
            const auto bytes = from.read(room);
            if (bytes.value_or(0) == 0) splitter_.end_of_file();
            splitter_.filled(bytes.value_or(0));
            put_what_is_complete();
            if (bytes == 0) break;
        }
        return left_ != 0;
    }
    void finish() { to_->finish(); }

private:
    using messages = std::span<const std::span<const std::byte>>;

    void put_what_is_complete() {
        while (left_ != 0) {
            const auto batch =
                splitter_.take(static_cast<std::size_t>(std::min<std::uint64_t>(left_, batch_max)));
            if (batch.empty()) return;
            put(batch);
        }
    }

    void put(messages batch) {
        idle_timer idle(options_.timeout);
        while (!batch.empty()) {
            idle.check("room in", options_.queue);
            const std::size_t count = to_->put(batch, idle.next());
            if (count == 0) continue;
            std::uint64_t bytes = 0;
            for (const auto& message : batch.first(count)) bytes += message.size();
            progress_.add(count, bytes);
            left_ -= count;
            batch = batch.subspan(count);
            idle.reset();
        }
    }

    const stream_options& options_;
    std::unique_ptr<message_sink> to_;
    record_splitter splitter_;
    std::uint64_t left_;
    progress progress_;
};

void write_stream(int argc, char** argv) {
    auto options = parse_command_line(program, argc, argv);
    if (!options) return;
    if (options->files.empty()) options->files.emplace_back("-");
    writer to(*options);
    try {
        for (const auto& file : options->files) {
            const bool last = &file == &options->files.back();
            if (!to.copy(input(file, options->follow && last, *options))) break;
        }
    } catch (const stopped&) {
        if (options->follow) to.finish();  // there is no other end
        throw;
    }
    to.finish();
}

}  // namespace

int main(int argc, char** argv) {
    return run_program(program.name, [&] { write_stream(argc, argv); });
}
