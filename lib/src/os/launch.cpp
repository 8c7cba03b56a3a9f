// Starting processes with Boost.Process, on one thread.
#include "os/launch.hpp"

#include "os/own_thread.hpp"

#include <bulkhead/error.hpp>

#include <boost/process/v2/posix/default_launcher.hpp>

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

/// The environment, `variable` in the place of the one of its name.
std::vector<const char*> environment_with(const std::string& variable) {
    const std::string_view name = std::string_view(variable).substr(0, variable.find('=') + 1);
    std::vector<const char*> all;
    for (char** at = environ; at != nullptr && *at != nullptr; ++at) {
        if (std::strncmp(*at, name.data(), name.size()) != 0) all.push_back(*at);
    }
    all.push_back(variable.c_str());
    all.push_back(nullptr);
    return all;
}

/// What happens in the child between vfork and exec, in the parent's memory. Async-signal-safe calls
/// only, and nothing of that memory is changed.
struct child_setup {
    const std::vector<int>* passed;
    int out_fd;
    int err_fd;
    int null_fd;
    pid_t parent;
    bool dies_with_parent;

    template <class Launcher, class Path, class Argv>
    boost::system::error_code on_exec_setup(Launcher&, const Path&, const Argv&) const noexcept {
        if (dies_with_parent) {
            ::setpgid(0, 0);
            ::prctl(PR_SET_PDEATHSIG, SIGKILL);
            if (::getppid() != parent) ::_exit(1);  // it died before the line above
        } else {
            ::setsid();
            // Whoever stops it cannot keep it from what it has to do then. Before the exec: it may be stopped at any time.
            ::prctl(PR_SET_PDEATHSIG, SIGCONT);
        }

        // A Ctrl-Z for the parent's group, from just before this process left it, would stop it for ever: ignoring
        // such a signal takes it away. So would the terminal, whose foreground this process is never in: a task that reads
        // from it gets EIO.
        struct sigaction standard {};
        standard.sa_handler = SIG_DFL;
        struct sigaction ignored {};
        ignored.sa_handler = SIG_IGN;
        ::sigaction(SIGTSTP, &ignored, nullptr);
        for (int signal = 1; signal < NSIG; ++signal) {
            const bool of_terminal = signal == SIGTTIN || signal == SIGTTOU;
            ::sigaction(signal, of_terminal ? &ignored : &standard, nullptr);
        }
        if (!dies_with_parent) ignore_signals_for_programs();
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

/// Boost.Process's launcher of its name shares the parent's memory with the child too, and lets Asio change
/// it there (it makes its reactor anew, which is then the parent's, with the child's descriptors); its
/// default one forks, which copies the page tables: 5 ms for each GiB that the parent has, and a page fault
/// for each page that the parent writes to afterwards. So this one is made of the same parts, without Asio.
struct vfork_launcher : process_v2::posix::default_launcher {
    /// 0, or the error; then `pid` is a child that has to be reaped, unless it is -1.
    template <class Setup>
    [[nodiscard]] int run(const process_v2::filesystem::path& executable, const char* const* argv,
                          const Setup& setup) {
        int ends[2];
        // By the time vfork() returns, what the child has to say is there; and a fork that another thread made in
        // between keeps `tells` open for as long as it lives. (TSan makes a fork of it: an exec that fails shows as an exit there.)
        if (::pipe2(ends, O_CLOEXEC | O_NONBLOCK) != 0) return errno;
        const unique_fd told = above_stdio(unique_fd(ends[0]));
        unique_fd tells = above_stdio(unique_fd(ends[1]));
        // The child goes on in this thread's memory: nothing may be optimised into being changed there.
        pid = ::vfork();
        if (pid == 0) {
            process_v2::posix::detail::on_exec_setup(*this, executable, argv, setup);
            ::execve(executable.c_str(), const_cast<char* const*>(argv),
                     const_cast<char* const*>(env));
            const int cause = errno;
            (void)!::write(tells.get(), &cause, sizeof cause);
            ::_exit(EXIT_FAILURE);
        }
        if (pid < 0) return errno;
        tells.reset();
        int cause = 0;
        ssize_t got = 0;
        while ((got = ::read(told.get(), &cause, sizeof cause)) < 0 && errno == EINTR) {
        }
        return got == sizeof cause ? cause : 0;
    }
};

/// The pipe of run(), pidfd, and the pair of await_start().
constexpr std::size_t descriptors_needed = 5;

void reap(pid_t pid) noexcept {
    while (::waitpid(pid, nullptr, 0) < 0 && errno == EINTR) {
    }
}

/// Its pid is still its own.
void kill_unreaped(pid_t pid) noexcept {
    ::kill(pid, SIGKILL);
    reap(pid);
}

[[noreturn]] void throw_spawn(const std::string& what) { throw pool_broken(cannot_start(what)); }

launched spawn_here(const launch_request& request) {
    const bool another = !request.executable.empty();
    const std::string executable = another ? request.executable : "/proc/self/exe";
    // For a better sentence than exec's.
    if (::access(executable.c_str(), X_OK) != 0) {
        throw_spawn(executable + " cannot be executed: " + errno_text(errno) +
                    (another ? "" : " (is /proc mounted?)"));
    }
    unique_fd opened(::open("/dev/null", O_RDWR | O_CLOEXEC));
    if (!opened) throw_spawn("/dev/null does not open: " + errno_text(errno));
    const unique_fd null_fd = above_stdio(std::move(opened));

    {
        // Half-way, where one is missing, there would be a process already: look first.
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

    vfork_launcher launcher;
    std::vector<const char*> environment;
    if (!request.variable.empty()) {
        environment = environment_with(request.variable);
        launcher.env = environment.data();
    }
    const int standard_fd = request.dies_with_parent ? -1 : null_fd.get();
    const child_setup setup{&passed,
                            request.out_fd >= 0 ? request.out_fd : standard_fd,
                            request.err_fd >= 0 ? request.err_fd : standard_fd,
                            null_fd.get(),
                            ::getpid(),
                            request.dies_with_parent};
    const int failure = launcher.run(executable, argv.data(), setup);
    const pid_t pid = launcher.pid;
    if (failure != 0) {
        if (pid > 0) reap(pid);
        throw_spawn(errno_text(failure));
    }

    unique_fd pidfd(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
    if (!pidfd) {
        const int cause = errno;
        kill_unreaped(pid);
        if (cause == ESRCH) {
            throw_spawn(
                "it ended at once, and since this program ignores SIGCHLD, nobody knows how");
        }
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

    spawner() {
        start_thread([this] { serve(); }).detach();
    }

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

launched launch(const launch_request& request) {
    try {
        return spawner::instance().run(request);
    } catch (const thread_failure& cause) {
        throw pool_broken(cause.what());
    }
}

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

void ignore_signals_for_programs() noexcept {
    struct sigaction ignored {};
    ignored.sa_handler = SIG_IGN;
    for (const int signal : {SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGPIPE, SIGUSR1, SIGUSR2}) {
        ::sigaction(signal, &ignored, nullptr);
    }
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
