// expect: cannot travel.*pass the captured values as arguments
#include <bulkhead/bulkhead.hpp>

void refused() {
    const std::string text = "owned";
    const bulkhead::process p([text] { return text.size(); });
}
