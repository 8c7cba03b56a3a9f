// What every object in shared memory begins with, how a process finds one that another made, and the
// rule that a process maps an object once. The body behind the header belongs to the object's kind.
#pragma once

#include "os/shared_memory.hpp"

#include <bulkhead/codec.hpp>
#include <bulkhead/detail/handle.hpp>

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>

namespace bulkhead::ring {

enum class object_kind : std::uint32_t {
    queue = 1,
    mutex = 2,
    guarded = 3,
    value = 4,
    array = 5,
    recursive_mutex = 6,
    shared_mutex = 7,
    semaphore = 8,
    event = 9,
    condition_variable = 10,
    barrier = 11,
    map = 12,
};
inline constexpr auto object_kind_last = object_kind::map;

/// "queue", "mutex", "guarded", "shared_value", ...
[[nodiscard]] const char* to_string(object_kind kind) noexcept;

/// Written once by the maker, before anybody else can see the object; constant from then on.
struct object_header {
    std::uint64_t magic;
    std::uint32_t layout_version;
    std::uint32_t abi;  ///< sizes of pointer and pthread_mutex_t: a 32-bit peer differs
    object_kind kind;
    std::uint32_t reserved;
    std::uint64_t type_hash;
    std::array<std::uint64_t, 2> id;
    std::uint64_t total_bytes;
    std::uint64_t pid_namespace;      ///< lock owners are thread ids, which mean nothing in another
    std::array<char, 192> type_name;  ///< for messages; cut short, always ends in a zero
};
static_assert(sizeof(object_header) == 256);
static_assert(offsetof(object_header, type_hash) == 24);
static_assert(offsetof(object_header, total_bytes) == 48);
static_assert(offsetof(object_header, type_name) == 64);

/// Why a header is not one of this library's, "" when it is. `bytes` of memory hold the object.
[[nodiscard]] std::string complaint_about(const object_header& found, std::size_t bytes);
/// What it holds, in printable characters.
[[nodiscard]] std::string type_name_in(const object_header& header);

/// What an opener expects, and a maker writes down.
struct object_type {
    object_kind kind;
    detail::type_tag element;
};

using object_id = std::array<std::uint64_t, 2>;

/// The mapping of one object; shared by all handles of this process. Thread-safe.
class shared_object {
public:
    using initializer = std::function<void(std::byte* body, std::size_t body_bytes)>;

    /// Anonymous: lives as long as somebody maps it or holds its descriptor.
    static std::shared_ptr<shared_object> create_anonymous(object_type type, std::size_t body_bytes,
                                                           const initializer& initialize);
    /// Named; throws bulkhead::error if there is one.
    static std::shared_ptr<shared_object> create(const std::string& name, object_type type,
                                                 std::size_t body_bytes,
                                                 const initializer& initialize);
    /// Throws bulkhead::error if there is none, or not of this type.
    static std::shared_ptr<shared_object> open(const std::string& name, object_type type);
    /// As open(), but nullptr if there is none.
    static std::shared_ptr<shared_object> open_if_there(const std::string& name, object_type type);
    /// `created` tells which it was. Of several that do so at once, one creates.
    static std::shared_ptr<shared_object> open_or_create(const std::string& name, object_type type,
                                                         std::size_t body_bytes,
                                                         const initializer& initialize,
                                                         bool& created);
    /// Takes the name away; false when there was none of that name.
    static bool remove(const std::string& name, object_kind kind);

    /// How the object travels. The receiver finds it by its name or through the sender's descriptor, so the
    /// sender keeps an anonymous one alive until then; in a task's result the descriptor is sent along
    /// (encoder::keep_reachable).
    static void encode(encoder& out, const std::shared_ptr<shared_object>& object);
    static std::shared_ptr<shared_object> decode(decoder& in, object_type type);

    /// Makes known here what another process has sent a descriptor of: decode() finds it as long as the result
    /// lives. Throws bulkhead::error when it is no anonymous object of this library, or cannot be mapped.
    static std::shared_ptr<shared_object> adopt_sent(os::unique_fd fd);

    ~shared_object();
    shared_object(const shared_object&) = delete;
    shared_object& operator=(const shared_object&) = delete;

    [[nodiscard]] std::byte* body() const noexcept;
    [[nodiscard]] std::size_t body_bytes() const noexcept;
    [[nodiscard]] int fd() const noexcept { return segment_.fd(); }
    /// Empty for an anonymous one.
    [[nodiscard]] const std::string& name() const noexcept { return name_; }
    /// "queue 'jobs'", "an anonymous queue".
    [[nodiscard]] const std::string& description() const noexcept { return description_; }
    /// Whether its name still leads to it.
    [[nodiscard]] bool is_reachable_by_name() const;

    /// Locks in it that threads of this process hold beyond a call: who drops a handle meanwhile must
    /// not let the mapping go, as the C library keeps the address of a held robust lock.
    std::atomic<int> locks_held{0};
    /// Whether who has its lock now was told that it was a dead owner's.
    std::atomic<bool> inherited{false};

    [[nodiscard]] const object_id& id() const noexcept { return id_; }

private:
    shared_object(os::shared_segment segment, std::string name, std::string description);
    static os::shared_segment make(os::shared_segment segment, object_type type,
                                   const initializer& initialize);
    /// Checks the header, and gives the mapping that this process may already have.
    static std::shared_ptr<shared_object> adopt(os::shared_segment segment, object_type type,
                                                const std::string& name,
                                                const std::string& description);
    /// The mapping that this process may already have in place of another of the same object.
    static std::shared_ptr<shared_object> known_or(std::shared_ptr<shared_object> fresh);
    static std::shared_ptr<shared_object> find(const object_id& id);
    void check(object_type type) const;
    [[nodiscard]] const object_header& header() const noexcept;

    os::shared_segment segment_;
    std::size_t total_bytes_;  ///< as checked; the header is not believed twice
    object_id id_{};
    std::string name_;
    std::string description_;
};

}  // namespace bulkhead::ring
