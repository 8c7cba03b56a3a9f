// Starting processes with Boost.Process, on one thread.
#include "os/launch.hpp"

#include <bulkhead/error.hpp>

#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/process/v2/posix/default_launcher.hpp>
#include <boost/process/v2/process.hpp>
#include <boost/system/system_error.hpp>

#include <algorithm>
#include <array>
#include <charconv>
#include <condition_variable>
#include <csignal>
#include <cstring>
#include <deque>
#include <exception>
#include <fcntl.h>
#include <future>
#include <mutex>
#include <poll.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <thread>

namespace bulkhead::os {
namespace {

namespace process_v2 = boost::process::v2;

std::string& name_of_program() {
    static std::string name = "bulkhead-program";
    return name;
}

/// The environment, `variable` in the place of the one of its name. Async-signal-safe; never freed.
const char* const* environment_with(std::string_view variable) noexcept {
    const std::string_view name = variable.substr(0, variable.find('=') + 1);
    std::size_t count = 0;
    while (environ != nullptr && environ[count] != nullptr) ++count;
    void* memory = ::mmap(nullptr, (count + 2) * sizeof(const char*), PROT_READ | PROT_WRITE,
                          MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) ::_exit(1);
    auto* const all = static_cast<const char**>(memory);
    std::size_t filled = 0;
    for (std::size_t i = 0; i != count; ++i) {
        if (std::strncmp(environ[i], name.data(), name.size()) != 0) all[filled++] = environ[i];
    }
    all[filled] = variable.data();
    return all;
}

/// What happens in the child between fork and exec. Async-signal-safe calls only.
struct child_setup {
    const std::vector<int>* passed;
    int out_fd;
    int err_fd;
    int null_fd;
    pid_t parent;
    bool dies_with_parent;
    std::string_view variable;

    template <class Launcher, class Path, class Argv>
    boost::system::error_code on_setup(Launcher& launcher, const Path&, const Argv&) const {
        // Keeps Boost from closing them; whether they survive the exec is decided below.
        launcher.fd_whitelist.insert(launcher.fd_whitelist.end(), passed->begin(), passed->end());
        for (const int fd : {out_fd, err_fd}) {
            if (fd >= 0) launcher.fd_whitelist.push_back(fd);
        }
        return {};
    }

    template <class Launcher, class Path, class Argv>
    boost::system::error_code on_exec_setup(Launcher& launcher, const Path&, const Argv&) const {
        // Here, where no other thread changes the environment.
        if (!variable.empty()) launcher.env = environment_with(variable);
        if (dies_with_parent) {
            ::setpgid(0, 0);
            ::prctl(PR_SET_PDEATHSIG, SIGKILL);
            if (::getppid() != parent) ::_exit(1);  // it died before the line above
        } else {
            ::setsid();
        }

        struct sigaction standard {};
        standard.sa_handler = SIG_DFL;
        for (int signal = 1; signal < NSIG; ++signal) ::sigaction(signal, &standard, nullptr);
        sigset_t none;
        ::sigemptyset(&none);
        ::pthread_sigmask(SIG_SETMASK, &none, nullptr);

        ::dup2(null_fd, STDIN_FILENO);
        if (out_fd >= 0) ::dup2(out_fd, STDOUT_FILENO);
        if (err_fd >= 0) ::dup2(err_fd, STDERR_FILENO);
        ::syscall(SYS_close_range, static_cast<unsigned>(first_passed_fd), ~0U,
                  1U << 2 /* CLOSE_RANGE_CLOEXEC */);
        for (const int fd : *passed) ::fcntl(fd, F_SETFD, 0);
        return {};
    }
};

/// epoll, timer and interrupter of the io_context, Boost's pipe and pidfd, our own pidfd, and the pipe
/// of await_start().
constexpr std::size_t descriptors_needed = 10;

/// Its pid is still its own.
void kill_unreaped(pid_t pid) noexcept {
    ::kill(pid, SIGKILL);
    while (::waitpid(pid, nullptr, 0) < 0 && errno == EINTR) {
    }
}

[[noreturn]] void throw_spawn(const std::string& what) { throw pool_broken(cannot_start(what)); }

launched spawn_here(const launch_request& request) {
    const bool another = !request.executable.empty();
    const std::string executable = another ? request.executable : "/proc/self/exe";
    // The launcher's child would run exit() and with it our static destructors: look first.
    if (::access(executable.c_str(), X_OK) != 0) {
        throw_spawn(executable + " cannot be executed: " + errno_text(errno) +
                    (another ? "" : " (is /proc mounted?)"));
    }
    unique_fd opened(::open("/dev/null", O_RDWR | O_CLOEXEC));
    if (!opened) throw_spawn("/dev/null does not open: " + errno_text(errno));
    const unique_fd null_fd = above_stdio(std::move(opened));

    {
        // Boost leaves a descriptor behind when it finds none free half-way: look first.
        std::array<unique_fd, descriptors_needed> reserve;
        for (auto& fd : reserve) {
            fd.reset(::fcntl(null_fd.get(), F_DUPFD_CLOEXEC, 0));
            if (!fd) throw_spawn(errno_text(errno));
        }
    }

    int start[2];
    if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, start) != 0) {
        throw_spawn("socketpair: " + errno_text(errno));
    }
    const unique_fd awaits_start = above_stdio(unique_fd(start[0]));
    unique_fd starts = above_stdio(unique_fd(start[1]));
    const std::string start_argument = std::to_string(awaits_start.get());
    std::vector<int> passed = request.passed_fds;
    passed.push_back(awaits_start.get());

    std::vector<const char*> argv;
    argv.reserve(request.arguments.size() + 3);
    argv.push_back(another ? executable.c_str() : program_name().c_str());
    for (const auto& argument : request.arguments) argv.push_back(argument.c_str());
    argv.push_back(start_argument.c_str());
    argv.push_back(nullptr);

    boost::asio::io_context context(1);  // of its own: a shared one can hang in the child
    // Makes the context's reactor now: where it fails after the fork, Boost leaks the pidfd.
    const boost::asio::posix::stream_descriptor reactor(context);
    process_v2::posix::default_launcher launcher;
    boost::system::error_code failure;
    const int standard_fd = request.dies_with_parent ? -1 : null_fd.get();
    const child_setup setup{&passed,
                            request.out_fd >= 0 ? request.out_fd : standard_fd,
                            request.err_fd >= 0 ? request.err_fd : standard_fd,
                            null_fd.get(),
                            ::getpid(),
                            request.dies_with_parent,
                            request.variable};
    try {
        launcher(context.get_executor(), failure, executable.c_str(), argv.data(), setup).detach();
    } catch (const boost::system::system_error& thrown) {
        failure = thrown.code();  // out of descriptors, after the fork
    }
    const pid_t pid = launcher.pid;
    if (failure) {
        if (pid > 0) kill_unreaped(pid);
        // What Boost makes of a pidfd_open that finds nobody.
        if (pid > 0 && failure.value() == EBADF) {
            throw_spawn(
                "it ended at once, and since this program ignores SIGCHLD, nobody knows how");
        }
        throw_spawn(errno_text(failure.value()));
    }

    unique_fd pidfd(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
    if (!pidfd) {
        const int cause = errno;
        kill_unreaped(pid);
        throw_spawn("pidfd_open: " + errno_text(cause));
    }
    ::fcntl(pidfd.get(), F_SETFD, FD_CLOEXEC);
    return {pid, std::move(pidfd), std::move(starts)};
}

/// The thread that spawns. It lives as long as the process: the kernel kills children when the
/// *thread* that made them ends.
class spawner {
public:
    static spawner& instance() {
        static std::mutex guard;
        static spawner* current = nullptr;
        static pid_t owner = 0;
        const std::lock_guard lock(guard);
        if (owner != ::getpid()) {  // first use, or first use in a forked child
            current = new spawner;  // never destroyed: its thread never ends
            owner = ::getpid();
        }
        return *current;
    }

    launched run(const launch_request& request) {
        job work{&request, {}};
        auto result = work.result.get_future();
        {
            const std::lock_guard lock(mutex_);
            jobs_.push_back(&work);
        }
        wake_.notify_one();
        outcome made = result.get();
        if (!made.failure.empty()) throw pool_broken(made.failure);
        return std::move(made.process);
    }

private:
    /// A sentence instead of an exception, which both threads would own.
    struct outcome {
        launched process;
        std::string failure;
    };
    struct job {
        const launch_request* request;
        std::promise<outcome> result;
    };

    spawner() { std::thread(&spawner::serve, this).detach(); }

    [[noreturn]] void serve() {
        // A handler of the program's is none of this thread's business.
        sigset_t all;
        ::sigfillset(&all);
        ::pthread_sigmask(SIG_SETMASK, &all, nullptr);
        while (true) {
            job* next = nullptr;
            {
                std::unique_lock lock(mutex_);
                wake_.wait(lock, [&] { return !jobs_.empty(); });
                next = jobs_.front();
                jobs_.pop_front();
            }
            outcome made;
            try {
                made.process = spawn_here(*next->request);
            } catch (const boost::system::system_error& e) {  // Asio's own descriptors
                made.failure = cannot_start(errno_text(e.code().value()));
            } catch (const std::exception& e) {
                made.failure = e.what();
            }
            next->result.set_value(std::move(made));
        }
    }

    std::mutex mutex_;
    std::condition_variable wake_;
    std::deque<job*> jobs_;
};

}  // namespace

const std::string& program_name() { return name_of_program(); }
void set_program_name(const char* argv0) { name_of_program() = argv0; }

void launched::let_it_run() noexcept {
    // A child that is gone already is told by its pidfd.
    const char go = 1;
    (void)::send(starts.get(), &go, sizeof go, MSG_NOSIGNAL);
    starts.reset();
}

void launched::kill_and_reap() noexcept { kill_unreaped(pid); }

launched launch(const launch_request& request) { return spawner::instance().run(request); }

std::string fd_list(const std::vector<int>& fds) {
    std::string text;
    for (const int fd : fds) {
        if (!text.empty()) text += ',';
        text += std::to_string(fd);
    }
    return text;
}

std::vector<int> parse_fd_list(std::string_view text) {
    std::vector<int> fds;
    while (!text.empty()) {
        int fd = -1;
        const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), fd);
        if (error != std::errc{} || ::fcntl(fd, F_GETFD) < 0) return {};
        fds.push_back(fd);
        text.remove_prefix(static_cast<std::size_t>(end - text.data()));
        if (!text.empty() && text.front() != ',') return {};
        if (!text.empty()) text.remove_prefix(1);
    }
    return fds;
}

std::string cannot_start(const std::string& why) {
    return "bulkhead: cannot start a worker process: " + why;
}

start_signal await_start(std::string_view argument) noexcept {
    int fd = -1;
    const auto [end, error] =
        std::from_chars(argument.data(), argument.data() + argument.size(), fd);
    if (error != std::errc{} || end != argument.data() + argument.size())
        return start_signal::not_ours;
    char go = 0;
    ssize_t got = 0;
    while ((got = ::read(fd, &go, sizeof go)) < 0 && errno == EINTR) {
    }
    ::close(fd);
    if (got < 0) return start_signal::not_ours;
    return got == 0 ? start_signal::parent_died : start_signal::go;
}

}  // namespace bulkhead::os
