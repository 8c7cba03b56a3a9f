// expect: cannot travel to another.*process.*pass data by value
#include <bulkhead/bulkhead.hpp>

int length(const char* text) { return text[0]; }

void refused(bulkhead::process_pool& pool) { (void)pool.submit(length, "text"); }
