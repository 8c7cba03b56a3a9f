// Calls bulkhead::init more than once.
#include <bulkhead/bulkhead.hpp>

#include <cstdio>

int main(int argc, char** argv) {
    bulkhead::init(argc, argv);
    bulkhead::init(argc, argv);
    bulkhead::process_pool pool(2);
    std::printf("%d\n", pool.submit([](int x) { return x * x; }, 7).get());
    std::fflush(stdout);
    bulkhead::init(argc, argv);
    bulkhead::process one([] { std::puts("in a process"); });
    return one.join().success() ? 0 : 1;
}
