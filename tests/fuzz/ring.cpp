// A queue's memory that some process has overwritten: operations work or refuse, and stay inside it.
#include "ring/ring.hpp"

#include <bulkhead/error.hpp>

#include <cstring>
#include <fuzzer/FuzzedDataProvider.h>
#include <stdexcept>
#include <vector>

namespace {

using namespace bulkhead::ring;
using bulkhead::detail::wait_not_at_all;

constexpr std::size_t capacity = 256;

struct aligned_memory {
    explicit aligned_memory(std::size_t bytes)
        : data(static_cast<std::byte*>(std::aligned_alloc(64, (bytes + 63) / 64 * 64))) {
        std::memset(data, 0, bytes);
    }
    ~aligned_memory() { std::free(data); }
    aligned_memory(const aligned_memory&) = delete;
    aligned_memory& operator=(const aligned_memory&) = delete;
    std::byte* data;
};

void use(byte_ring& ring, FuzzedDataProvider& script) {
    std::size_t count = 0;
    switch (script.ConsumeIntegralInRange(0, 4)) {
        case 0: {
            const std::vector<std::byte> bytes(script.ConsumeIntegralInRange<std::size_t>(0, 300));
            const message one(bytes);
            (void)ring.put({&one, 1}, wait_not_at_all, count);
            break;
        }
        case 1: {
            std::vector<std::byte> taken;
            (void)ring.get({&taken,
                            [](void* context, std::size_t bytes) {
                                auto& to = *static_cast<std::vector<std::byte>*>(context);
                                to.resize(to.size() + bytes);
                                return to.data() + to.size() - bytes;
                            }},
                           1, wait_not_at_all, count);
            break;
        }
        case 2:
            ring.task_done();
            break;
        case 3:
            (void)ring.join_tasks(wait_not_at_all);
            break;
        case 4:
            (void)ring.size();
            break;
    }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    FuzzedDataProvider script(data, size);
    const std::size_t bytes = byte_ring::body_bytes(capacity);
    const aligned_memory memory(bytes);
    byte_ring::construct(memory.data, capacity);
    try {
        byte_ring ring(memory.data, bytes, "a queue");
        while (script.remaining_bytes() != 0) {
            try {
                if (script.ConsumeBool()) {
                    use(ring, script);
                } else {
                    const auto at = script.ConsumeIntegralInRange<std::size_t>(
                        offsetof(ring_layout, geometry), bytes - 8);
                    const auto word = script.ConsumeIntegral<std::uint64_t>();
                    std::memcpy(memory.data + at, &word,
                                script.ConsumeIntegralInRange<std::size_t>(1, 8));
                }
            } catch (const bulkhead::error&) {  // refused
            } catch (const std::length_error&) {
            }
        }
    } catch (const bulkhead::error&) {
    }
    return 0;
}
