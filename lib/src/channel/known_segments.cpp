#include "channel/known_segments.hpp"

#include "channel/segment_store.hpp"

#include <algorithm>
#include <iterator>

namespace bulkhead::channel {

std::shared_ptr<detail::shared_payload> known_segments::find(std::uint64_t id) {
    const auto known = std::find_if(entries_.begin(), entries_.end(),
                                    [&](const entry& one) { return one.id == id; });
    if (known == entries_.end()) return nullptr;
    std::rotate(known, std::next(known), entries_.end());
    entries_.back().used = clock::now();
    return entries_.back().segment;
}

void known_segments::keep(std::uint64_t id, std::shared_ptr<detail::shared_payload> segment) {
    if (entries_.size() == segment_store::segments_max) entries_.erase(entries_.begin());
    entries_.push_back({id, std::move(segment), clock::now()});
}

void known_segments::age() {
    if (entries_.empty()) return;
    const auto now = clock::now();
    const auto young = std::find_if(entries_.begin(), entries_.end(),
                                    [&](const entry& one) { return now - one.used < keep_for; });
    entries_.erase(entries_.begin(), young);
}

}  // namespace bulkhead::channel
