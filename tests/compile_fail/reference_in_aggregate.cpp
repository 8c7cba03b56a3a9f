// expect: cannot travel to another process
#include <bulkhead/bulkhead.hpp>

struct line {
    const std::string& file;
    std::string text;
};

void take(const line&) {}

void refused(bulkhead::process_pool& pool, const std::string& file) {
    (void)pool.submit(take, line{file, "text"});
}
