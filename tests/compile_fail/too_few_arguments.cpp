// expect: wrong number of arguments
#include <bulkhead/bulkhead.hpp>

int add(int a, int b) { return a + b; }

void refused(bulkhead::process_pool& pool) { (void)pool.submit(add, 1); }
