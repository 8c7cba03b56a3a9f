// Keeps both sides of a pool busy, so that the system calls can be counted (tests/guards/cost).
#include <bulkhead/bulkhead.hpp>

#include <cstdlib>
#include <vector>

namespace {
std::int64_t square(std::int64_t x) { return x * x; }
}  // namespace

int main(int argc, char** argv) {
    bulkhead::init(argc, argv);
    const int tasks = argc == 2 ? std::atoi(argv[1]) : 1;
    bulkhead::process_pool pool(1);
    std::vector<bulkhead::future<std::int64_t>> results;
    results.reserve(static_cast<std::size_t>(tasks));
    for (std::int64_t i = 0; i != tasks; ++i) results.push_back(pool.submit(square, i));
    for (std::int64_t i = 0; i != tasks; ++i) {
        if (results[static_cast<std::size_t>(i)].get() != i * i) return 1;
    }
}
