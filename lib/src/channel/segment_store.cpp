#include "channel/segment_store.hpp"

#include <bulkhead/error.hpp>

#include <new>

namespace bulkhead::channel {
namespace {

/// Of this process's segments, so that a worker knows one again.
std::uint64_t next_id() noexcept {
    static std::atomic<std::uint64_t> last{0};
    return last.fetch_add(1, std::memory_order_relaxed) + 1;
}

}  // namespace

segment_store::~segment_store() {
    for (auto& place : free_) delete place.load(std::memory_order_acquire);
}

std::shared_ptr<detail::shared_payload> segment_store::segment(std::size_t bytes) {
    if (bytes > segment_bytes) return nullptr;
    auto segment = take();
    if (!segment) return nullptr;
    return {segment.release(), [self = shared_from_this()](detail::shared_payload* of) {
                self->take_back(std::unique_ptr<detail::shared_payload>(of));
            }};
}

std::unique_ptr<detail::shared_payload> segment_store::take() noexcept {
    for (auto& place : free_) {
        // Acquire: what its last owner read and wrote there is over.
        if (auto* one = place.exchange(nullptr, std::memory_order_acquire)) {
            return std::unique_ptr<detail::shared_payload>(one);
        }
    }
    if (made_.fetch_add(1, std::memory_order_relaxed) < segments_max) {
        try {
            return std::make_unique<detail::shared_payload>(segment_bytes, next_id());
        } catch (const error&) {
            // No memory or descriptor for it: the heap may have some.
        } catch (const std::bad_alloc&) {
        }
    }
    made_.fetch_sub(1, std::memory_order_relaxed);
    return nullptr;
}

void segment_store::take_back(std::unique_ptr<detail::shared_payload> segment) noexcept {
    if (!segment->is_lent()) {
        for (auto& place : free_) {
            detail::shared_payload* none = nullptr;
            if (place.compare_exchange_strong(none, segment.get(), std::memory_order_release,
                                              std::memory_order_relaxed)) {
                (void)segment.release();
                return;
            }
        }
    }
    segment.reset();
    made_.fetch_sub(1, std::memory_order_relaxed);
}

}  // namespace bulkhead::channel
