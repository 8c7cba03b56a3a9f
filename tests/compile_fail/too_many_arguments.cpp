// expect: wrong number of arguments
#include <bulkhead/bulkhead.hpp>

int square(int x) { return x * x; }

void refused(bulkhead::process_pool& pool) { (void)pool.submit(square, 1, 2); }
