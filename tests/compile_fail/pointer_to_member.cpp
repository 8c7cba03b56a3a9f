// expect: a pointer to member cannot be a task: pass a lambda
#include <bulkhead/bulkhead.hpp>

struct thing {
    int value() const { return 1; }
};

void refused(bulkhead::process_pool& pool) { (void)pool.submit(&thing::value, thing{}); }
