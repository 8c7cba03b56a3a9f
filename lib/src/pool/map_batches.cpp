// The parts of map() that need no template: framing of items, choice of batch sizes.
#include <bulkhead/detail/map_batches.hpp>

#include "pool/chunk_record.hpp"
#include "pool/exception_travel.hpp"

#include <algorithm>
#include <array>
#include <limits>

namespace bulkhead::detail {
namespace {

using namespace std::chrono_literals;

/// Enough work that a message's cost of about a microsecond is lost in it, and little enough that an
/// early end, a crash or a slow reader does not waste much.
constexpr std::chrono::nanoseconds batch_time_target = 200us;
/// A message's cost is lost in these at any speed.
constexpr std::size_t batch_size_max = 4096;
constexpr std::size_t flat_batch_size_max = 8192;
/// Batches under way for each worker: one that runs, one that waits behind it.
constexpr std::size_t batches_per_worker = 2;
/// A batch grows by at most this factor from one measurement to the next: the first items are often
/// not like the rest.
constexpr std::size_t growth_max = 8;

}  // namespace

chunk_tuner::chunk_tuner(const map_options& options, std::size_t workers)
    : options_(options), workers_(std::max<std::size_t>(workers, 1)) {
    batch_size_ = options.chunk_size != 0 ? options.chunk_size : 1;
    batch_size_ = std::min(batch_size_, share());
    set_lookahead();
}

std::size_t chunk_tuner::share() const noexcept {
    if (options_.lookahead_max == 0) return std::numeric_limits<std::size_t>::max();
    return std::max<std::size_t>(1, options_.lookahead_max / (batches_per_worker * workers_));
}

void chunk_tuner::set_lookahead() noexcept {
    lookahead_ = options_.lookahead_max != 0 ? options_.lookahead_max
                                             : batch_size_ * (batches_per_worker * workers_ + 1);
}

void chunk_tuner::measured(std::chrono::nanoseconds run_time, std::size_t items) noexcept {
    // A batch that was cut short by a crash was not measured.
    if (options_.chunk_size != 0 || items == 0 || run_time.count() <= 0) return;
    const auto per_item =
        std::max<std::int64_t>(1, run_time.count() / static_cast<std::int64_t>(items));
    std::size_t wanted = static_cast<std::size_t>(batch_time_target.count() / per_item);
    const std::size_t size_max = flat_ ? flat_batch_size_max : batch_size_max;
    wanted = std::clamp<std::size_t>(wanted, 1, std::min(size_max, growth_max * batch_size_));
    batch_size_ = std::min(wanted, share());
    set_lookahead();
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

void skip_chunk_header(decoder& in) { (void)in.take(sizeof(chunk_header)); }

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

void flat_message::grow(std::size_t bytes) {
    constexpr std::size_t first_bytes = 256;
    const std::size_t capacity = std::max({used_ + bytes, 2 * capacity_, expected_, first_bytes});
    auto larger = std::make_unique_for_overwrite<std::byte[]>(capacity);
    if (used_ != 0) std::memcpy(larger.get(), bytes_.get(), used_);
    bytes_ = std::move(larger);
    capacity_ = capacity;
}

flat_content::flat_content(decoder& in, std::size_t items_max, std::size_t bytes_each, pid_t pid) {
    const auto refuse_unless = [](bool right) {
        if (!right) {
            throw codec_error("bulkhead: a batch's results do not decode: their counts are wrong");
        }
    };
    chunk_header header;
    in.read_bytes(&header, sizeof header);
    items = static_cast<std::size_t>(chunk_word_items(header.done));
    refuse_unless(items <= items_max);
    refuse_unless(header.errors_at >= sizeof header + items * bytes_each &&
                  header.errors_at - sizeof header <= in.remaining());
    values = in.take(static_cast<std::size_t>(header.errors_at) - sizeof header);
    while (in.remaining() != 0) {
        flat_error_record record;
        in.read_bytes(&record, sizeof record);
        const std::size_t from = errors.empty() ? 0 : errors.back().item + 1;
        refuse_unless(record.item >= from && record.item < items && record.bytes <= in.remaining());
        const auto bytes = static_cast<std::size_t>(record.bytes);
        const std::span<const std::byte> content(in.take(bytes), bytes);
        (void)in.take(std::min(padded(bytes) - bytes, in.remaining()));
        try {
            throw_remote(content, pid, {});
        } catch (...) {
            errors.push_back({static_cast<std::size_t>(record.item), std::current_exception()});
        }
    }
}

}  // namespace bulkhead::detail
