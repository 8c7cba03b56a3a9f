// Finds who can tell of an object.
#include "ring/object_account.hpp"

#include "ring/sync_object.hpp"

namespace bulkhead::ring {
namespace {

accountant accountant_for(object_kind kind) {
    switch (kind) {
        case object_kind::queue:
            return queue_accountant;
        case object_kind::guarded:
            return guarded_accountant;
        case object_kind::value:
        case object_kind::array:
            return array_accountant;
        case object_kind::map:
            return map_accountant;
        default:
            break;
    }
    const sync_traits* traits = sync_traits_of(kind);
    return traits == nullptr ? accountant{} : accountant{traits->body_bytes, traits->account};
}

}  // namespace

void object_account::add_lock(const robust_mutex& lock, const std::string& whose) {
    const std::string prefix = whose.empty() ? whose : whose + "_";
    const pid_t owner = lock.owner();
    if (owner != 0) {
        add(prefix + "locked_by", static_cast<std::uint64_t>(owner));
        threads.push_back(static_cast<os::life>(owner));
    }
    if (lock.owner_has_died()) add(prefix + "owner_died", 1);
}

object_account account_of(object_kind kind, std::span<const std::byte> body) {
    object_account result;
    const accountant how = accountant_for(kind);
    if (how.account != nullptr && body.size() >= how.bytes) how.account(body.data(), result);
    return result;
}

}  // namespace bulkhead::ring
