// expect: non-const reference.*does not travel back.*return the result
#include <bulkhead/bulkhead.hpp>

void change(std::vector<int>& values) { values.push_back(1); }

void refused(bulkhead::process_pool& pool) {
    std::vector<std::vector<int>> all(3);
    pool.map(change, all).wait();
}
