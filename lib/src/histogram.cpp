// Buckets: 16 for each power of two.
#include <bulkhead/histogram.hpp>

#include <bulkhead/error.hpp>

#include <algorithm>
#include <bit>
#include <cmath>

namespace bulkhead {
namespace {

constexpr unsigned sub_bits = 4;
constexpr std::uint64_t sub_count = std::uint64_t{1} << sub_bits;

std::size_t bucket_of(std::uint64_t value) noexcept {
    if (value < sub_count) return static_cast<std::size_t>(value);
    const auto shift = static_cast<unsigned>(std::bit_width(value)) - sub_bits - 1;
    return static_cast<std::size_t>((std::uint64_t{shift} << sub_bits) + (value >> shift));
}

/// The largest value of a bucket.
std::uint64_t top_of(std::size_t bucket) noexcept {
    if (bucket < 2 * sub_count) return bucket;
    const auto shift = static_cast<unsigned>(bucket >> sub_bits) - 1;
    return ((sub_count + (bucket & (sub_count - 1)) + 1) << shift) - 1;
}

}  // namespace

void histogram::add(duration value) {
    value = std::max(value, duration(0));
    const std::size_t bucket = bucket_of(static_cast<std::uint64_t>(value.count()));
    if (bucket >= buckets_.size()) buckets_.resize(bucket + 1);
    ++buckets_[bucket];
    min_ = count_ == 0 ? value : std::min(min_, value);
    max_ = std::max(max_, value);
    sum_ns_ += static_cast<double>(value.count());
    ++count_;
}

histogram::duration histogram::mean() const noexcept {
    if (count_ == 0) return duration(0);
    return duration(static_cast<std::int64_t>(sum_ns_ / static_cast<double>(count_)));
}

histogram::duration histogram::percentile(double percent) const {
    if (!(percent >= 0 && percent <= 100)) {
        throw usage_error("bulkhead: a percentile is between 0 and 100");
    }
    if (count_ == 0) return duration(0);
    const auto rank = std::clamp<std::uint64_t>(
        static_cast<std::uint64_t>(std::ceil(percent / 100 * static_cast<double>(count_))), 1,
        count_);
    if (rank == count_) return max_;
    std::uint64_t seen = 0;
    for (std::size_t i = 0; i != buckets_.size(); ++i) {
        seen += buckets_[i];
        if (seen >= rank) {
            return std::clamp(duration(static_cast<std::int64_t>(top_of(i))), min_, max_);
        }
    }
    return max_;
}

void histogram::merge(const histogram& other) {
    if (other.count_ == 0) return;
    buckets_.resize(std::max(buckets_.size(), other.buckets_.size()));
    for (std::size_t i = 0; i != other.buckets_.size(); ++i) buckets_[i] += other.buckets_[i];
    min_ = count_ == 0 ? other.min_ : std::min(min_, other.min_);
    max_ = std::max(max_, other.max_);
    sum_ns_ += other.sum_ns_;
    count_ += other.count_;
}

}  // namespace bulkhead
