// Making and accepting large payloads; the growth of a task_encoder into one.
#include "channel/payload.hpp"

#include <bulkhead/detail/task_encoder.hpp>

#include <algorithm>

namespace bulkhead::detail {

shared_payload::shared_payload(std::size_t bytes)
    : fd_(os::make_memfd("bulkhead-payload", bytes)),
      memory_(os::map_shared(fd_.get(), bytes, "a task's payload")) {}

shared_payload::shared_payload(os::unique_fd fd, std::size_t bytes) : fd_(std::move(fd)) {
    if (bytes == 0 || !os::is_sealed_memory(fd_.get(), bytes)) {
        throw codec_error("bulkhead: a payload's memory is not what its message says");
    }
    memory_ = os::map_shared(fd_.get(), bytes, "a task's payload");
}

task_encoder::~task_encoder() = default;

void task_encoder::keep_alive(std::shared_ptr<const void> object) {
    kept_.push_back(std::move(object));
}

void task_encoder::clear() noexcept {
    kept_.clear();
    if (shared_) {
        shared_.reset();
        begin_ = inline_;
        end_ = inline_ + sizeof inline_;
        heap_.reset();
    }
    pos_ = begin_;
}

void task_encoder::grow(std::size_t bytes) {
    const std::size_t used = size();
    const std::size_t capacity = static_cast<std::size_t>(end_ - begin_);
    if (bytes > SIZE_MAX / 2 - used) throw codec_error("bulkhead: a value is too large to encode");
    const std::size_t wanted = std::max(used + bytes, 2 * capacity);
    std::byte* target = nullptr;
    if (wanted >= shared_payload_bytes_min) {
        auto larger = std::make_shared<shared_payload>(wanted);
        target = larger->data();
        if (used != 0) std::memcpy(target, begin_, used);
        shared_ = std::move(larger);
        heap_.reset();
    } else {
        auto larger = std::make_unique_for_overwrite<std::byte[]>(wanted);
        target = larger.get();
        if (used != 0) std::memcpy(target, begin_, used);
        heap_ = std::move(larger);
    }
    begin_ = target;
    pos_ = target + used;
    end_ = target + wanted;
}

}  // namespace bulkhead::detail
