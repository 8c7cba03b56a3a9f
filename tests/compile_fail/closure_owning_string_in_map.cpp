// expect: cannot travel.*pass the captured values as arguments
#include <bulkhead/bulkhead.hpp>

void refused(bulkhead::process_pool& pool) {
    const std::string text = "owned";
    for (const int y : pool.map([text](int x) { return x; }, std::vector<int>{1, 2})) (void)y;
}
