// printer inherit|discard: a worker writes to stdout and stderr, then this program to stdout.
#include <bulkhead/bulkhead.hpp>

#include <iostream>
#include <string>

namespace {

int print() {
    std::cout << "from the worker" << std::endl;
    std::cerr << "and from the worker\n";
    return 7;
}

}  // namespace

int main(int argc, char** argv) {
    bulkhead::init(argc, argv);
    bulkhead::process_pool_options options{.workers = 1};
    if (argc > 1 && argv[1] == std::string("discard")) {
        options.worker_output = bulkhead::worker_output::discard;
    }
    bulkhead::process_pool pool(options);
    const int seven = pool.submit(print).get();
    std::cout << seven << '\n';
}
