// Making and accepting large payloads; the growth of a task_encoder into one.
#include "channel/payload.hpp"

#include <bulkhead/detail/task_encoder.hpp>

#include <algorithm>

namespace bulkhead::detail {
namespace {

/// Smaller ones are copied sooner than a block is found.
constexpr std::size_t block_bytes_min = std::size_t{64} * 1024;
/// The same of a segment, whose descriptor has to be sent.
constexpr std::size_t segment_bytes_min = std::size_t{1} << 20;

}  // namespace

shared_payload::shared_payload(std::size_t bytes, std::uint64_t id)
    : memory_(os::make_own_memory("bulkhead-payload", bytes)), id_(id) {}

shared_payload::shared_payload(os::unique_fd fd, std::size_t bytes) {
    if (bytes == 0 || !os::is_sealed_memory(fd.get(), bytes)) {
        throw codec_error("bulkhead: a payload's memory is not what its message says");
    }
    memory_.memory = os::map_to_read(fd.get(), bytes, "a task's payload");
    memory_.fd = std::move(fd);
}

task_encoder::~task_encoder() { drop_block(); }

void task_encoder::drop_block() noexcept {
    if (block_ != nullptr) memory_->release(std::exchange(block_, nullptr));
}

void task_encoder::keep_reachable(std::shared_ptr<const void> object, int descriptor) {
    kept_.push_back({std::move(object), descriptor});
}

std::unique_ptr<std::byte[]> task_encoder::take_heap() noexcept {
    if (!heap_) return nullptr;
    use_inline();
    return std::move(heap_);
}

std::byte* task_encoder::take_block() noexcept {
    if (block_ != nullptr) use_inline();
    return std::exchange(block_, nullptr);
}

std::shared_ptr<shared_payload> task_encoder::take_shared() noexcept {
    if (shared_) use_inline();
    return std::move(shared_);
}

void task_encoder::clear() noexcept {
    kept_.clear();
    pieces_.clear();
    piece_bytes_ = 0;
    if (shared_ || block_ != nullptr) {
        shared_.reset();
        drop_block();
        use_inline();
    }
    pos_ = begin_;
}

bool task_encoder::is_worth_keeping(std::size_t bytes) const noexcept {
    // The largest go to shared memory from here, without the pool's lock.
    return takes_over_ && bytes >= block_bytes_min &&
           size() + piece_bytes_ + bytes < shared_payload_bytes_min;
}

void task_encoder::grow(std::size_t bytes) {
    const std::size_t used = size();
    const std::size_t capacity = static_cast<std::size_t>(end_ - begin_);
    if (bytes > SIZE_MAX / 2 - used) throw codec_error("bulkhead: a value is too large to encode");
    const std::size_t wanted = std::max(used + bytes, 2 * capacity);
    // What holds the old bytes is let go only once they are copied.
    const auto take_over = [&](std::byte* larger) {
        if (used != 0) std::memcpy(larger, begin_, used);
        return larger;
    };
    std::byte* target = nullptr;
    std::size_t room = wanted;
    std::shared_ptr<shared_payload> segment;
    if (wanted >= shared_payload_bytes_min) {
        segment = std::make_shared<shared_payload>(wanted);
    } else if (wanted >= segment_bytes_min && memory_ != nullptr) {
        segment = memory_->segment(wanted);
    }
    if (segment) {
        room = segment->capacity();
        target = take_over(segment->data());
        shared_ = std::move(segment);
        heap_.reset();
        drop_block();
    } else if (std::byte* block = wanted >= block_bytes_min && memory_ != nullptr
                                      ? memory_->allocate(wanted)
                                      : nullptr) {
        target = take_over(block);
        heap_.reset();
        drop_block();
        block_ = block;
    } else {
        auto larger = std::make_unique_for_overwrite<std::byte[]>(wanted);
        target = take_over(larger.get());
        heap_ = std::move(larger);
        drop_block();
    }
    begin_ = target;
    pos_ = target + used;
    end_ = target + room;
}

}  // namespace bulkhead::detail

namespace bulkhead::channel {
namespace {

/// A message of `bytes` bytes, to `target`: the pieces, and between them what was written.
void join(const std::byte* written, const std::vector<detail::bulk_piece>& pieces,
          std::size_t bytes, std::byte* target) noexcept {
    std::size_t done = 0;  // of what was written
    const auto write_until = [&](std::size_t at) {
        std::memcpy(target, written + done, at - done);
        target += at - done;
        done = at;
    };
    for (const auto& piece : pieces) {
        write_until(piece.at);
        std::memcpy(target, piece.bytes.data(), piece.bytes.size());
        target += piece.bytes.size();
        bytes -= piece.bytes.size();
    }
    write_until(bytes);
}

}  // namespace

void payload::take_large(detail::task_encoder& encoded) {
    clear();
    const std::size_t written = encoded.size();
    const std::size_t all = written + encoded.piece_bytes();
    auto& pieces = encoded.pieces();
    if (encoded.shared() && pieces.empty()) {
        rare_ = std::make_unique<rare>(encoded.take_shared(), nullptr);
    } else if (!pieces.empty() && all >= detail::shared_payload_bytes_min) {
        auto segment = std::make_shared<detail::shared_payload>(all);
        join(encoded.bytes().data(), pieces, all, segment->data());
        rare_ = std::make_unique<rare>(std::move(segment), nullptr);
    } else if (pieces.empty() && all <= sizeof inline_) {
        assign(encoded.bytes());
    } else {
        heap_ = encoded.take_heap();
        auto shared = encoded.take_shared();
        if (!heap_ && !shared) {
            heap_ = std::make_unique_for_overwrite<std::byte[]>(written);
            std::memcpy(heap_.get(), encoded.bytes().data(), written);
        }
        if (!pieces.empty()) {
            rare_ = std::make_unique<rare>(std::move(shared), nullptr);
            rare_->pieces = std::move(pieces);
        }
    }
    bytes_ = all;
}

void payload::copy_to(std::byte* target) const noexcept {
    if (rare_ && !rare_->pieces.empty()) {
        join(rare_->shared ? rare_->shared->data() : heap_.get(), rare_->pieces, bytes_, target);
    } else if (bytes_ != 0) {
        std::memcpy(target, bytes().data(), bytes_);
    }
}

}  // namespace bulkhead::channel
