// unusual_start closed_stdio|ignored_sigchld|broken_stderr RESULT: uses pools and processes in a program that was
// started so, and says in the file RESULT how it went.
#include <bulkhead/bulkhead.hpp>

#include <csignal>
#include <cstdlib>
#include <fstream>
#include <string>
#include <unistd.h>

namespace {

int square(int x) { return x * x; }
void crash() {
    for (int i = 0; i != 1000; ++i) {
        [[maybe_unused]] const auto written = ::write(STDERR_FILENO, "last words\n", 11);
    }
    ::raise(SIGSEGV);
}

/// In words, what became of the process's status.
std::string end_of(bulkhead::process one) {
    one.join();
    const auto status = one.status();
    if (status.running()) return "running";
    return status == bulkhead::process_status::unknown() ? "unknown" : "known";
}

std::string use_everything(bool prints) {
    std::string told;
    bulkhead::process_pool pool(2);
    told += std::to_string(pool.submit(square, 7).get());
    try {
        pool.submit(crash).get();
    } catch (const bulkhead::worker_crashed&) {
        told += " crashed";
    }
    told += ' ' + std::to_string(pool.submit(square, 8).get());
    const bulkhead::queue<int> numbers;
    numbers.put(1);
    if (prints) {  // and perhaps into what has taken a stream's place
        for (const int fd : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) {
            [[maybe_unused]] const auto written = ::write(fd, "what a program may print\n", 25);
        }
    }
    told += ' ' + std::to_string(numbers.get());
    return told + ' ' + end_of(bulkhead::process([] {}));
}

}  // namespace

int main(int argc, char** argv) {
    bulkhead::init(argc, argv);
    if (argc != 3) return 2;
    if (argv[1] == std::string("closed_stdio")) {
        for (const int fd : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) ::close(fd);
    } else if (argv[1] == std::string("broken_stderr")) {
        int ends[2];
        if (::pipe(ends) != 0) return 2;
        ::dup2(ends[1], STDERR_FILENO);
        ::close(ends[0]);
        ::close(ends[1]);
    } else {
        std::signal(SIGCHLD, SIG_IGN);
    }
    std::string told;
    try {
        told = use_everything(argv[1] == std::string("closed_stdio"));
    } catch (const std::exception& failure) {
        told = failure.what();
    }
    std::ofstream(argv[2]) << told;
}
