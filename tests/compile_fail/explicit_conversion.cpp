// expect: does not convert to the task.s parameter type
#include <bulkhead/bulkhead.hpp>

int sum(const std::vector<int>& of) { return static_cast<int>(of.size()); }

// In a call sum(5) it would not be five zeros either.
void refused(bulkhead::process_pool& pool) { (void)pool.submit(sum, 5); }
