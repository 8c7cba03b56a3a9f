// expect: result has a type that cannot travel back
#include <bulkhead/bulkhead.hpp>

std::string_view give() { return "text"; }

void refused(bulkhead::process_pool& pool) { (void)pool.submit(give); }
