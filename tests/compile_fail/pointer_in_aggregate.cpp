// expect: points into the sender.s memory
#include <bulkhead/bulkhead.hpp>

struct node {
    std::string text;
    int* next;
};

void take(const node&) {}

void refused(bulkhead::process_pool& pool) { (void)pool.submit(take, node{"n", nullptr}); }
