// expect: does not convert to the task.s parameter type
#include <bulkhead/bulkhead.hpp>

int square(int x) { return x * x; }

void refused(bulkhead::process_pool& pool) { (void)pool.submit(square, std::string("7")); }
