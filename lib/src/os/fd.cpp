// errno as text, thread-safe.
#include "os/fd.hpp"

#include <cstring>

namespace bulkhead::os {

std::string errno_text(int error) {
    const char* name = ::strerrorname_np(error);
    const char* text = ::strerrordesc_np(error);
    if (name == nullptr || text == nullptr) return "error " + std::to_string(error);
    return std::string(text) + " (" + name + ")";
}

}  // namespace bulkhead::os
