// expect: result has a type that cannot travel back
#include <bulkhead/bulkhead.hpp>

int* give() { return nullptr; }

void refused(bulkhead::process_pool& pool) { (void)pool.submit(give); }
