// expect: cannot travel.*pass the captured values as arguments
#include <bulkhead/bulkhead.hpp>

void refused(bulkhead::process_pool& pool) {
    const std::string text = "owned";
    (void)pool.submit([text] { return text.size(); });
}
