// What a start of the executable is for: the program itself, a worker, or one function.
#include <bulkhead/error.hpp>
#include <bulkhead/init.hpp>

#include "os/spawn.hpp"
#include "pool/worker_main.hpp"
#include "process/run_function.hpp"
#include "process/start.hpp"

#include <atomic>
#include <charconv>
#include <cstdio>
#include <fcntl.h>
#include <string>
#include <string_view>
#include <sys/prctl.h>
#include <unistd.h>
#include <vector>

namespace bulkhead {
namespace {

constexpr const char* not_for_users = "this option is for processes that bulkhead starts itself";

std::atomic<bool> initialised{false};

std::string& name_of_program() {
    static std::string name = "bulkhead-program";
    return name;
}

[[noreturn]] void end_with(const char* sentence) {
    (void)std::fprintf(stderr, "bulkhead: %s\n", sentence);
    ::_exit(2);
}

/// "3,5,7": numbers of open descriptors; empty when it is anything else.
std::vector<int> parse_fds(std::string_view text) {
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

}  // namespace

namespace detail {

const std::string& program_name() { return name_of_program(); }

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
    if (argc > 0 && argv[0] != nullptr) name_of_program() = argv[0];
    if (argc < 3) return;
    const std::string_view flag = argv[1];
    const bool worker = flag == detail::worker_flag;
    if (!worker && flag != detail::process_flag) return;

    const auto slash = name_of_program().rfind('/');
    ::prctl(PR_SET_NAME, name_of_program().c_str() + (slash == std::string::npos ? 0 : slash + 1));
    const auto fds = parse_fds(argv[2]);
    if (fds.empty() || argc < 4 || !os::await_start(argv[3])) end_with(not_for_users);
    try {
        if (worker) detail::serve(fds);
        detail::run_function(fds);
    } catch (const std::exception& e) {
        end_with(e.what());
    }
}

}  // namespace bulkhead
