// A short list, in the order of use.
#include "ring/recent_objects.hpp"

#include <algorithm>
#include <iterator>

namespace bulkhead::ring {
namespace {

bool may_be_kept(object_kind kind) {
    return kind == object_kind::queue || kind == object_kind::guarded ||
           kind == object_kind::value || kind == object_kind::array || kind == object_kind::map;
}

}  // namespace

recent_objects& recent_objects::of_this_process() {
    static auto& all = *new recent_objects;  // never destroyed, as what decodes may run at the end
    return all;
}

void recent_objects::keep(const std::shared_ptr<shared_object>& object, object_kind kind) {
    if (!enabled_ || !may_be_kept(kind)) return;
    std::shared_ptr<shared_object> oldest;  // unmapped without the lock
    const std::lock_guard lock(mutex_);
    const auto known = std::find_if(entries_.begin(), entries_.end(),
                                    [&](const entry& one) { return one.object == object; });
    if (known != entries_.end()) {
        std::rotate(known, std::next(known), entries_.end());
        entries_.back().used = clock::now();
        return;
    }
    if (!seen(object->id())) return;
    if (entries_.size() == kept_max) {
        oldest = std::move(entries_.front().object);
        entries_.erase(entries_.begin());
    }
    entries_.push_back({object, clock::now()});
}

bool recent_objects::seen(const object_id& id) {
    if (std::find(seen_.begin(), seen_.end(), id) != seen_.end()) return true;
    if (seen_.size() == seen_max) seen_.pop_front();
    seen_.push_back(id);
    return false;
}

bool recent_objects::any() const {
    const std::lock_guard lock(mutex_);
    return !entries_.empty();
}

void recent_objects::age() {
    std::vector<entry> old;
    const std::lock_guard lock(mutex_);
    if (entries_.empty()) return;
    const auto now = clock::now();
    const auto young = std::find_if(entries_.begin(), entries_.end(),
                                    [&](const entry& one) { return now - one.used < keep_for; });
    old.assign(std::move_iterator(entries_.begin()), std::move_iterator(young));
    entries_.erase(entries_.begin(), young);
}

void recent_objects::drop() noexcept {
    std::vector<entry> all;
    const std::lock_guard lock(mutex_);
    all.swap(entries_);
}

}  // namespace bulkhead::ring
