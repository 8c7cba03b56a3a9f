// The parts of map() that need no template: framing of items, choice of batch sizes.
#include <bulkhead/detail/map_batches.hpp>

#include "pool/chunk_record.hpp"
#include "pool/exception_travel.hpp"

#include <algorithm>
#include <array>

namespace bulkhead::detail {
namespace {

using namespace std::chrono_literals;

/// Enough work that a message's cost of about a microsecond is lost in it, and little enough that an
/// early end, a crash or a slow reader does not waste much.
constexpr std::chrono::nanoseconds batch_time_target = 200us;
constexpr std::size_t batch_size_max = 4096;
/// Batches under way for each worker: one that runs, one that waits behind it.
constexpr std::size_t batches_per_worker = 2;
/// A batch grows by at most this factor from one measurement to the next: the first items are often
/// not like the rest.
constexpr std::size_t growth_max = 8;

}  // namespace

chunk_tuner::chunk_tuner(const map_options& options, std::size_t workers)
    : options_(options), workers_(std::max<std::size_t>(workers, 1)) {
    batch_size_ = options.chunk_size != 0 ? options.chunk_size : 1;
    if (options.lookahead_max != 0) batch_size_ = std::min(batch_size_, options.lookahead_max);
}

std::size_t chunk_tuner::lookahead() const noexcept {
    if (options_.lookahead_max != 0) return options_.lookahead_max;
    return batch_size_ * (batches_per_worker * workers_ + 1);
}

void chunk_tuner::measured(std::chrono::nanoseconds run_time, std::size_t items) noexcept {
    // A batch that was cut short by a crash was not measured.
    if (options_.chunk_size != 0 || items == 0 || run_time.count() <= 0) return;
    const auto per_item =
        std::max<std::int64_t>(1, run_time.count() / static_cast<std::int64_t>(items));
    std::size_t wanted = static_cast<std::size_t>(batch_time_target.count() / per_item);
    wanted = std::clamp<std::size_t>(wanted, 1, std::min(batch_size_max, growth_max * batch_size_));
    if (options_.lookahead_max != 0) {
        const std::size_t share = options_.lookahead_max / (batches_per_worker * workers_);
        wanted = std::min(wanted, std::max<std::size_t>(share, 1));
    }
    batch_size_ = wanted;
}

void chunk_message::add_item(std::span<const std::byte> item) {
    offsets_.push_back(bytes_.size());
    const std::uint64_t bytes = item.size();
    const auto* length = reinterpret_cast<const std::byte*>(&bytes);
    bytes_.insert(bytes_.end(), length, length + sizeof bytes);
    bytes_.insert(bytes_.end(), item.begin(), item.end());
}

void chunk_message::write(encoder& out, std::size_t first) const {
    write_count(out, items() - first);
    out.write_bytes(bytes_.data() + offsets_[first], bytes_.size() - offsets_[first]);
}

decoder next_outcome(decoder& in, pid_t pid) {
    outcome_record record;
    in.read_bytes(&record, sizeof record);
    if (record.bytes > in.remaining()) {
        throw codec_error("bulkhead: a batch's results do not decode: one is cut short");
    }
    const auto bytes = static_cast<std::size_t>(record.bytes);
    const std::span<const std::byte> content(in.take(bytes), bytes);
    (void)in.take(padded(bytes) - bytes);
    if (record.threw == 0) return decoder(content);
    throw_remote(content, pid, {});
}

}  // namespace bulkhead::detail
