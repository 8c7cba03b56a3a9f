// Exceptions from a worker: whatever bytes, something is thrown that a caller can catch.
#include "pool/exception_travel.hpp"

#include <cstdlib>
#include <exception>
#include <string>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    try {
        bulkhead::detail::throw_remote({reinterpret_cast<const std::byte*>(data), size}, 1, "task");
    } catch (const std::exception& e) {
        if (std::string(e.what()).size() > size + 4096) std::abort();
    }
    return 0;
}
