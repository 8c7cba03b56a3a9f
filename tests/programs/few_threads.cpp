// few_threads WHAT N: makes WHAT (process_pool|thread_pool|process) where only N processes and threads may be,
// this one included, and says on stdout what came of it.
#include <bulkhead/bulkhead.hpp>

#include <cstdlib>
#include <iostream>
#include <string>
#include <sys/resource.h>
#include <unistd.h>

namespace {

/// A user of whom nothing else runs here; root itself is not limited.
constexpr uid_t lonely_user = 54'321;

int square(int x) { return x * x; }

std::string use(const std::string& what) {
    if (what == "thread_pool") {
        return std::to_string(bulkhead::thread_pool(4).submit(square, 7).get());
    }
    if (what == "process_pool") {
        return std::to_string(bulkhead::process_pool(1).submit(square, 7).get());
    }
    bulkhead::process one([] { ::_exit(49); });
    one.join();
    return std::to_string(one.status().exit_code());
}

}  // namespace

int main(int argc, char** argv) {
    bulkhead::init(argc, argv);
    if (argc != 3) return 2;
    if (::geteuid() == 0 && (::setgid(lonely_user) != 0 || ::setuid(lonely_user) != 0)) return 2;
    const auto count = static_cast<rlim_t>(std::atoi(argv[2]));
    const rlimit limit{count, count};
    if (::setrlimit(RLIMIT_NPROC, &limit) != 0) return 2;
    try {
        std::cout << use(argv[1]);
    } catch (const bulkhead::pool_broken& failure) {
        std::cout << "pool_broken: " << failure.what();
    } catch (const bulkhead::error& failure) {
        std::cout << "error: " << failure.what();
    }
    std::cout.flush();
    ::_exit(0);  // AddressSanitizer's end starts a process of its own
}
