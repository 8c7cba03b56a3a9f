// What a start of the executable is for: the program itself, a worker, or one function.
#include <bulkhead/error.hpp>
#include <bulkhead/init.hpp>

#include "os/keeper.hpp"
#include "os/launch.hpp"
#include "pool/worker_main.hpp"
#include "process/run_function.hpp"
#include "process/start.hpp"

#include <atomic>
#include <csignal>
#include <cstdio>
#include <string>
#include <string_view>
#include <sys/prctl.h>
#include <unistd.h>

namespace bulkhead {
namespace {

std::atomic<bool> initialised{false};

[[noreturn]] void end_with(const char* sentence) {
    (void)std::fprintf(stderr, "bulkhead: %s\n", sentence);
    ::_exit(2);
}

}  // namespace

namespace detail {

void require_init(const char* what) {
    if (!initialised.load()) {
        throw usage_error(std::string("bulkhead: a ") + what +
                          " was made before bulkhead::init(argc, argv) was called: make that call "
                          "the first statement of main(), and keep pools and processes out of "
                          "global constructors");
    }
}

}  // namespace detail

void init(int argc, char** argv) {
    if (initialised.exchange(true)) return;
    (void)os::outer_compartments();  // before there are threads that change the environment
    if (argc > 0 && argv[0] != nullptr) os::set_program_name(argv[0]);
    if (argc < 3) return;
    const std::string_view flag = argv[1];
    const bool worker = flag == detail::worker_flag;
    if (!worker && flag != detail::process_flag) return;

    const std::string& name = os::program_name();
    const auto slash = name.rfind('/');
    ::prctl(PR_SET_NAME, name.c_str() + (slash == std::string::npos ? 0 : slash + 1));
    const auto fds = os::parse_fd_list(argv[2]);
    if (fds.empty() || argc < 4) end_with(os::not_for_users);
    const pid_t parent = ::getppid();
    const auto signal = os::await_start(argv[3]);
    if (signal == os::start_signal::not_ours) end_with(os::not_for_users);
    if (signal == os::start_signal::parent_died) ::_exit(1);
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);  // again: an exec that gives rights takes it away
    if (::getppid() != parent) ::_exit(1);
    try {
        if (worker) detail::serve(fds);
        detail::run_function(fds);
    } catch (const std::exception& e) {
        end_with(e.what());
    }
}

}  // namespace bulkhead
