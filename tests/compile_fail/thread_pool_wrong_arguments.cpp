// expect: does not accept these arguments
#include <bulkhead/bulkhead.hpp>

int square(int x) { return x * x; }

void refused(bulkhead::thread_pool& pool) { (void)pool.submit(square, std::string("7")); }
