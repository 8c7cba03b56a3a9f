// expect: cannot travel.*pass the captured values as arguments
#include <bulkhead/bulkhead.hpp>

#include <functional>

void refused(bulkhead::process_pool& pool) {
    const std::function<int(int)> f = [](int x) { return x; };
    (void)pool.submit(f, 1);
}
