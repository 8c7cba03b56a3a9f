// printer inherit|discard|crash: a worker writes to stdout and stderr, then this program to stdout. Under
// crash, what a crash keeps of the worker's standard error that goes where this program's goes.
#include <bulkhead/bulkhead.hpp>

#include <cstdlib>
#include <iostream>
#include <string>

namespace {

int print() {
    std::cout << "from the worker" << std::endl;
    std::cerr << "and from the worker\n";
    return 7;
}

[[noreturn]] void crash() {
    std::cerr << "last words\n";
    std::abort();
}

}  // namespace

int main(int argc, char** argv) {
    bulkhead::init(argc, argv);
    bulkhead::process_pool_options options{.workers = 1};
    if (argc > 1 && argv[1] == std::string("discard")) {
        options.worker_output = bulkhead::worker_output::discard;
    }
    bulkhead::process_pool pool(options);
    if (argc > 1 && argv[1] == std::string("crash")) {
        try {
            pool.submit(crash).get();
        } catch (const bulkhead::worker_crashed& crashed) {
            std::cout << crashed.stderr_tail();
        }
        return 0;
    }
    const int seven = pool.submit(print).get();
    std::cout << seven << '\n';
}
