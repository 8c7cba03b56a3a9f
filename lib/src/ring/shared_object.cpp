// Making, opening and finding objects in shared memory. What their bodies mean is left to ring,
// robust_mutex and their users.
#include "ring/shared_object.hpp"

#include "os/symbols.hpp"
#include "ring/object_name.hpp"
#include "ring/recent_objects.hpp"

#include <bulkhead/error.hpp>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <map>
#include <mutex>
#include <pthread.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

namespace bulkhead::ring {
namespace {

constexpr std::uint64_t magic_word = 0x31306b6c75623a42;
constexpr std::uint32_t layout_version = 2;
constexpr std::uint32_t abi_word = (sizeof(void*) << 16) | sizeof(pthread_mutex_t);
/// Of several processes that create, open and remove one name in a loop, each gets it by then.
constexpr int open_or_create_attempts_max = 1000;

/// FNV-1a of the mangled name, with the sizes: types of one name may differ between programs.
std::uint64_t hash_of(const detail::type_tag& tag) {
    std::uint64_t hash = 0xcbf29ce484222325;
    const auto add = [&](std::uint64_t value) { hash = (hash ^ value) * 0x100000001b3; };
    for (const char* c = tag.mangled_name; *c != 0; ++c) add(static_cast<unsigned char>(*c));
    add(tag.bytes);
    add(tag.alignment);
    return hash;
}

/// "an anonymous queue"; a guarded is a value.
std::string anonymous(object_kind kind) {
    return std::string("an anonymous ") + to_string(kind) +
           (kind == object_kind::guarded ? " value" : "");
}

std::string damage_of(const object_header& found) {
    if (found.magic != magic_word) return "the memory was not made by Bulkhead, or is damaged";
    if (found.layout_version != layout_version) {
        return "its layout is of version " + std::to_string(found.layout_version) +
               ", this program knows version " + std::to_string(layout_version) +
               "; use one version of the library on both sides";
    }
    if (found.abi != abi_word) return "it was made by a program of another word size or C library";
    return "";
}

/// Every object this process has mapped. Never destroyed: handles may be globals.
struct registry {
    std::mutex lock;
    std::map<std::array<std::uint64_t, 2>, std::weak_ptr<shared_object>> objects;

    static registry& instance() {
        static auto& all = *new registry;
        return all;
    }
};

}  // namespace

std::string complaint_about(const object_header& found, std::size_t bytes) {
    auto damage = damage_of(found);
    if (!damage.empty()) return damage;
    if (found.total_bytes != bytes) {
        return "it has " + std::to_string(bytes) + " bytes instead of " +
               std::to_string(found.total_bytes) + " (cut short?)";
    }
    if (found.pid_namespace != os::pid_namespace()) {
        return "it was made in another PID namespace (container); locks do not work across these";
    }
    return "";
}

std::string type_name_in(const object_header& header) {
    const auto& raw = header.type_name;
    std::string text(raw.data(), ::strnlen(raw.data(), raw.size()));
    std::replace_if(
        text.begin(), text.end(), [](char c) { return c < ' ' || c > '~'; }, '?');
    return text;
}

const char* to_string(object_kind kind) noexcept {
    switch (kind) {
        case object_kind::queue:
            return "queue";
        case object_kind::mutex:
            return "mutex";
        case object_kind::guarded:
            return "guarded";
        case object_kind::value:
            return "shared_value";
        case object_kind::array:
            return "shared_array";
        case object_kind::recursive_mutex:
            return "recursive_mutex";
        case object_kind::shared_mutex:
            return "shared_mutex";
        case object_kind::semaphore:
            return "semaphore";
        case object_kind::event:
            return "event";
        case object_kind::condition_variable:
            return "condition_variable";
        case object_kind::barrier:
            return "barrier";
        case object_kind::map:
            return "shared_map";
    }
    return "object";
}

shared_object::shared_object(os::shared_segment segment, std::string name, std::string description)
    : segment_(std::move(segment)),
      total_bytes_(segment_.size()),
      name_(std::move(name)),
      description_(std::move(description)) {}

shared_object::~shared_object() {
    registry& all = registry::instance();
    const std::lock_guard guard(all.lock);
    const auto found = all.objects.find(id_);
    // Another mapping may have been made between the last handle's end and now.
    if (found != all.objects.end() && found->second.expired()) all.objects.erase(found);
}

const object_header& shared_object::header() const noexcept {
    return *reinterpret_cast<const object_header*>(segment_.data());
}

std::byte* shared_object::body() const noexcept { return segment_.data() + sizeof(object_header); }

std::size_t shared_object::body_bytes() const noexcept {
    return total_bytes_ - sizeof(object_header);
}

os::shared_segment shared_object::make(os::shared_segment segment, object_type type,
                                       const initializer& initialize) {
    auto& header = *reinterpret_cast<object_header*>(segment.data());
    header.magic = magic_word;
    header.layout_version = layout_version;
    header.abi = abi_word;
    header.kind = type.kind;
    header.type_hash = hash_of(type.element);
    header.total_bytes = segment.size();
    header.pid_namespace = os::pid_namespace();
    os::readable_name(type.element.mangled_name)
        .copy(header.type_name.data(), header.type_name.size() - 1);
    if (::getrandom(header.id.data(), sizeof header.id, 0) != sizeof header.id) {
        throw bulkhead::error("bulkhead: the system gives no random bytes (getrandom)");
    }
    initialize(segment.data() + sizeof(object_header), segment.size() - sizeof(object_header));
    return segment;
}

void shared_object::check(object_type type) const {
    const auto refuse = [&](const std::string& why) {
        throw bulkhead::error("bulkhead: cannot open " + description_ + ": " + why);
    };
    const object_header& found = header();
    if (const auto damage = damage_of(found); !damage.empty()) refuse(damage);
    if (found.kind != type.kind) {
        refuse("it is a " + std::string(to_string(found.kind)) + ", not a " + to_string(type.kind));
    }
    if (found.type_hash != hash_of(type.element)) {
        refuse("it holds '" + type_name_in(found) + "', not '" +
               os::readable_name(type.element.mangled_name) + "'");
    }
    if (const auto why = complaint_about(found, total_bytes_); !why.empty()) refuse(why);
}

std::shared_ptr<shared_object> shared_object::find(const object_id& id) {
    registry& all = registry::instance();
    const std::lock_guard guard(all.lock);
    const auto found = all.objects.find(id);
    return found == all.objects.end() ? nullptr : found->second.lock();
}

std::shared_ptr<shared_object> shared_object::adopt(os::shared_segment segment, object_type type,
                                                    const std::string& name,
                                                    const std::string& description) {
    std::shared_ptr<shared_object> fresh(new shared_object(std::move(segment), name, description));
    fresh->check(type);
    const shared_object* const checked = fresh.get();
    auto object = known_or(std::move(fresh));
    if (object.get() != checked) object->check(type);
    return object;
}

std::shared_ptr<shared_object> shared_object::known_or(std::shared_ptr<shared_object> fresh) {
    fresh->id_ = fresh->header().id;
    registry& all = registry::instance();
    const std::lock_guard guard(all.lock);
    auto& entry = all.objects[fresh->id_];
    auto known = entry.lock();
    if (known == nullptr) {
        entry = fresh;
        return fresh;
    }
    return known;
}

std::shared_ptr<shared_object> shared_object::adopt_sent(os::unique_fd fd) {
    const std::string sent = "an object that a task's result refers to";
    auto segment = os::shared_segment::open_sent(std::move(fd), sizeof(object_header), sent);
    const auto& header = *reinterpret_cast<const object_header*>(segment.data());
    if (const auto why = complaint_about(header, segment.size()); !why.empty()) {
        throw bulkhead::error("bulkhead: cannot open " + sent + ": " + why);
    }
    auto description = anonymous(header.kind);
    return known_or(std::shared_ptr<shared_object>(
        new shared_object(std::move(segment), "", std::move(description))));
}

std::shared_ptr<shared_object> shared_object::create_anonymous(object_type type,
                                                               std::size_t body_bytes,
                                                               const initializer& initialize) {
    const std::string description = anonymous(type.kind);
    auto segment =
        os::shared_segment::create_anonymous(sizeof(object_header) + body_bytes, description);
    return adopt(make(std::move(segment), type, initialize), type, "", description);
}

std::shared_ptr<shared_object> shared_object::create(const std::string& name, object_type type,
                                                     std::size_t body_bytes,
                                                     const initializer& initialize) {
    const object_name place(type.kind, name);
    auto segment = make(os::shared_segment::create_unpublished(sizeof(object_header) + body_bytes,
                                                               place.description()),
                        type, initialize);
    if (!segment.publish(place.path(), place.description())) {
        throw bulkhead::error("bulkhead: cannot create " + place.description() +
                              ": it exists already; open it, or remove it first");
    }
    return adopt(std::move(segment), type, name, place.description());
}

std::shared_ptr<shared_object> shared_object::open_if_there(const std::string& name,
                                                            object_type type) {
    const object_name place(type.kind, name);
    auto segment =
        os::shared_segment::open(place.path(), sizeof(object_header), place.description());
    if (!segment) return nullptr;
    return adopt(std::move(*segment), type, name, place.description());
}

std::shared_ptr<shared_object> shared_object::open(const std::string& name, object_type type) {
    auto object = open_if_there(name, type);
    if (object == nullptr) {
        throw bulkhead::error("bulkhead: there is no " +
                              object_name(type.kind, name).description() +
                              " of this user; create it first");
    }
    return object;
}

std::shared_ptr<shared_object> shared_object::open_or_create(const std::string& name,
                                                             object_type type,
                                                             std::size_t body_bytes,
                                                             const initializer& initialize,
                                                             bool& created) {
    const object_name place(type.kind, name);
    std::optional<os::shared_segment> mine;
    for (int attempt = 0; attempt != open_or_create_attempts_max; ++attempt) {
        created = false;
        if (auto object = open_if_there(name, type)) return object;
        if (!mine) {
            mine = make(os::shared_segment::create_unpublished(sizeof(object_header) + body_bytes,
                                                               place.description()),
                        type, initialize);
        }
        created = true;
        if (mine->publish(place.path(), place.description())) {
            return adopt(std::move(*mine), type, name, place.description());
        }
    }
    throw bulkhead::error("bulkhead: cannot open " + place.description() +
                          ": others keep creating and removing it");
}

bool shared_object::remove(const std::string& name, object_kind kind) {
    const object_name place(kind, name);
    return os::remove_path(place.path(), place.description());
}

bool shared_object::is_reachable_by_name() const {
    struct stat mine {};
    struct stat there {};
    return !name_.empty() && ::fstat(fd(), &mine) == 0 &&
           ::stat(object_name(header().kind, name_).path().c_str(), &there) == 0 &&
           mine.st_ino == there.st_ino && mine.st_dev == there.st_dev;
}

void shared_object::encode(encoder& out, const std::shared_ptr<shared_object>& object) {
    // First, as it may refuse. A named one is found by its name.
    if (object->name_.empty()) out.keep_reachable(object, object->fd());
    out.write(object->name_);
    out.write(object->id_);
    out.write(static_cast<std::int32_t>(::getpid()));
    out.write(static_cast<std::int32_t>(object->fd()));
}

std::shared_ptr<shared_object> shared_object::decode(decoder& in, object_type type) {
    const auto name = in.read<std::string>();
    const auto id = in.read<object_id>();
    const auto pid = in.read<std::int32_t>();
    const auto fd = in.read<std::int32_t>();
    const auto kept = [&](std::shared_ptr<shared_object> object) {
        recent_objects::of_this_process().keep(object, type.kind);
        return object;
    };
    try {
        if (auto known = find(id)) {
            known->check(type);
            return kept(std::move(known));
        }
        if (!name.empty()) {
            try {
                auto named = open_if_there(name, type);
                if (named != nullptr && named->id_ == id) return kept(std::move(named));
            } catch (const bulkhead::error&) {
                // Another has the name by now; the sender still has this one.
            }
        }
        const std::string description =
            name.empty() ? anonymous(type.kind) : object_name(type.kind, name).description();
        auto segment = os::shared_segment::open_of_process(pid, fd, sizeof(object_header),
                                                           name.empty(), description);
        auto object = adopt(std::move(segment), type, name, description);
        if (object->id_ == id) return kept(std::move(object));
        throw bulkhead::error("bulkhead: " + description +
                              " is gone: the process that sent it did not keep it");
    } catch (const bulkhead::error& failure) {
        throw codec_error(failure.what());
    }
}

}  // namespace bulkhead::ring
