// expect: aggregate has a base class, whose fields cannot be told
#include <bulkhead/bulkhead.hpp>

struct named {
    std::string name;
};

struct item : named {
    int count;
};

void take(const item&) {}

void refused(bulkhead::process_pool& pool) { (void)pool.submit(take, item{{"n"}, 1}); }
