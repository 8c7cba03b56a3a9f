/// @file
/// A map that several processes share: Python's Manager().dict() without the manager.
/// @code
/// bulkhead::shared_map<std::string, int> words;
/// pool.submit(count_words, file, words);   // calls words.update(word, 0, [](int& n) { ++n; })
/// for (const auto& [word, n] : words.items()) std::cout << word << ' ' << n << '\n';
/// @endcode
#pragma once

#include <bulkhead/codec.hpp>
#include <bulkhead/detail/handle.hpp>
#include <bulkhead/detail/map_core.hpp>
#include <bulkhead/detail/map_key.hpp>
#include <bulkhead/detail/queue_core.hpp>
#include <bulkhead/error.hpp>

#include <cstddef>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

namespace bulkhead {

struct shared_map_options {
    /// Room for keys and values as their codec<T> writes them, and for what the map adds: about 90 bytes an
    /// entry, and 45 more for a key of over 22 bytes and for a value of over 14. 4 KiB to 1 TiB; not given:
    /// 16 MiB for an anonymous map (memory is used as it fills), 1 MiB for a named one (allocated at once
    /// in /dev/shm).
    std::optional<std::size_t> capacity_bytes;
};

/// Keys and values for any number of threads of any number of processes of one user, under one lock. A copy
/// is a handle of the same map, and so is what a task or process gets when the map is its argument.
/// Constness is the handle's: every operation is const. Keys and values are kept as what codec<K> and
/// codec<V> write, and values come out as copies. Two keys are one when they encode to the same bytes (so
/// -0.0 is not 0.0); the map is in no order that means anything.
///
/// Each operation is whole for all others. Any of these processes may be killed at any instant, and nobody
/// hangs. What such a death does to the map:
/// - nothing, while it waited for the lock, read, was in a function of update(), or replaced a value of up
///   to 4 KiB by one that fits where the old one was (numbers, and structs of numbers, always do): the
///   change is then there or not, as a whole;
/// - if it happens within the microsecond or so in which a process adds or removes an entry, moves a value
///   that has outgrown its place or needs less than a quarter of it (of over 256 bytes), or clears the map, or while it writes a value of over 4 KiB: the map is
///   *damaged*. All content is lost then, since nobody can tell what is whole. Each operation but damaged(),
///   clear() and capacity_bytes() throws map_damaged, in all processes, until somebody calls clear().
/// A process that is stopped (SIGSTOP) within an operation keeps the others waiting until it goes on.
///
/// An anonymous map goes with the last process that holds it, also when that was killed; a named one stays
/// until remove(). Memory that entries have used is used again by others, but is the system's again only
/// when the map ends.
///
/// All operations may also throw usage_error when this thread is in a function of update() of the same map,
/// and bulkhead::error when the map's lock or a value's length has been overwritten by somebody. More than
/// these is not checked: a process that writes garbage into the map's memory can make others crash. Handles
/// of anonymous objects are neither keys nor values (codec_error): the map may outlive who has them.
template <class K, class V>
class shared_map {
    static_assert((detail::check_map_key<K>(), true));

public:
    using key_type = K;
    using mapped_type = V;
    using value_type = std::pair<K, V>;

    /// Anonymous. Throws usage_error for a capacity that cannot be.
    shared_map() : shared_map(shared_map_options{}) {}
    explicit shared_map(shared_map_options options)
        : core_(detail::map_core::make(options.capacity_bytes, tag())) {}

    /// As queue::create, open, open_or_create and remove. open() also refuses a map that was made with
    /// another release of Boost.
    [[nodiscard]] static shared_map create(const std::string& name,
                                           shared_map_options options = {}) {
        return shared_map(detail::map_core::create(name, options.capacity_bytes, tag()));
    }
    [[nodiscard]] static shared_map open(const std::string& name) {
        return shared_map(detail::map_core::open(name, tag()));
    }
    [[nodiscard]] static shared_map open_or_create(const std::string& name,
                                                   shared_map_options options = {}) {
        return shared_map(detail::map_core::open_or_create(name, options.capacity_bytes, tag()));
    }
    static bool remove(const std::string& name) { return detail::map_core::remove(name); }

    /// False when the key is there already; its value stays. Throws std::length_error when there is no room,
    /// and what encoding throws; the map is then as it was.
    bool insert(const K& key, const V& value) const {
        const encoded k(key);
        const encoded v(value);
        return core_.insert(k.bytes(), v.bytes());
    }
    /// False when the key was there already; its value is replaced. Throws as insert().
    bool insert_or_assign(const K& key, const V& value) const {
        const encoded k(key);
        const encoded v(value);
        return core_.insert_or_assign(k.bytes(), v.bytes());
    }

    /// nullopt when there is no such key.
    [[nodiscard]] std::optional<V> get(const K& key) const {
        const encoded k(key);
        detail::message_buffer value;
        if (!core_.get(k.bytes(), value.sink())) return std::nullopt;
        return detail::decode_message<V>(value.bytes());
    }
    /// std::out_of_range when there is no such key.
    [[nodiscard]] V at(const K& key) const {
        auto value = get(key);
        if (!value) core_.throw_no_such_key();
        return *std::move(value);
    }
    [[nodiscard]] V get_or(const K& key, V otherwise) const {
        auto value = get(key);
        return value ? *std::move(value) : std::move(otherwise);
    }
    [[nodiscard]] bool contains(const K& key) const {
        const encoded k(key);
        return core_.contains(k.bytes());
    }

    /// False when there is no such key.
    bool erase(const K& key) const {
        const encoded k(key);
        return core_.erase(k.bytes());
    }
    /// Removes the key and gives its value; nullopt when there is no such key. A process that is killed
    /// between the two has lost the value; if it does not decode (codec_error), it is gone.
    [[nodiscard]] std::optional<V> take(const K& key) const {
        const encoded k(key);
        detail::message_buffer value;
        if (!core_.take(k.bytes(), value.sink())) return std::nullopt;
        return detail::decode_message<V>(value.bytes());
    }

    /// Calls `change(V&)` on the key's value while no other thread of any process can get at the map, keeps
    /// what it made of it, and returns what it returns (by value). The reference is to a copy and ends with
    /// the call. If `change` throws, the value stays and the exception passes through. Throws
    /// std::out_of_range when there is no such key, and as insert().
    ///
    /// All who use the map wait meanwhile, so `change` should be brief; it must not use the same map
    /// (usage_error), and what it waits for must not need the map.
    template <class F>
    auto update(const K& key, F&& change) const {
        return update_from(key, nullptr, std::forward<F>(change));
    }
    /// If there is no such key, `change` gets `initial`, and the key is there then.
    template <class F>
    auto update(const K& key, V initial, F&& change) const {
        return update_from(key, &initial, std::forward<F>(change));
    }

    [[nodiscard]] std::size_t size() const { return core_.size(); }
    [[nodiscard]] bool empty() const { return size() == 0; }

    /// All of them as they are at one moment; others wait while they are copied.
    [[nodiscard]] std::vector<value_type> items() const {
        const auto copy = core_.copy(detail::map_copy::part::both);
        std::vector<value_type> all;
        all.reserve(copy.size() / 2);
        for (std::size_t i = 0; i != copy.size(); i += 2) {
            all.emplace_back(detail::decode_message<K>(copy[i]),
                             detail::decode_message<V>(copy[i + 1]));
        }
        return all;
    }
    [[nodiscard]] std::vector<K> keys() const {
        return decoded<K>(core_.copy(detail::map_copy::part::keys));
    }
    [[nodiscard]] std::vector<V> values() const {
        return decoded<V>(core_.copy(detail::map_copy::part::values));
    }

    /// No entries; also makes a damaged map a sound one.
    void clear() const { core_.clear(); }
    /// Whether a process was killed within a change, so that only clear() helps.
    [[nodiscard]] bool damaged() const { return core_.damaged(); }
    [[nodiscard]] std::size_t capacity_bytes() const noexcept { return core_.capacity_bytes(); }

private:
    friend codec<shared_map>;
    explicit shared_map(const detail::map_core& core) : core_(core) {}

    static detail::type_tag tag() noexcept { return detail::type_tag_of<value_type>(); }

    /// A key or value on its way in.
    class encoded {
    public:
        template <class T>
        explicit encoded(const T& value) {
            out_.write(value);
        }
        [[nodiscard]] detail::byte_view bytes() const noexcept { return out_.bytes(); }

    private:
        detail::message_encoder out_{
            "is neither key nor value of a shared_map, which may outlive "
            "who has it; give it a name"};
    };

    template <class T>
    static std::vector<T> decoded(const detail::map_copy& copy) {
        std::vector<T> all;
        all.reserve(copy.size());
        for (std::size_t i = 0; i != copy.size(); ++i) {
            all.push_back(detail::decode_message<T>(copy[i]));
        }
        return all;
    }

    template <class F>
    auto update_from(const K& key, V* initial, F&& change) const {
        const encoded k(key);
        detail::map_core::session locked(core_);
        const auto found = locked.find(k.bytes());
        if (!found && initial == nullptr) core_.throw_no_such_key();
        V value = found ? detail::decode_message<V>(*found) : std::move(*initial);
        if constexpr (std::is_void_v<std::invoke_result_t<F, V&>>) {
            std::forward<F>(change)(value);
            locked.insert_or_assign(k.bytes(), encoded(value).bytes());
        } else {
            auto result = std::forward<F>(change)(value);
            locked.insert_or_assign(k.bytes(), encoded(value).bytes());
            return result;
        }
    }

    detail::map_core core_;
};

namespace detail {
template <class K, class V>
inline constexpr bool is_handle<shared_map<K, V>> = true;
}  // namespace detail

/// Travels as its handle.
template <class K, class V>
struct codec<shared_map<K, V>> {
    static void encode(encoder& out, const shared_map<K, V>& value) { value.core_.encode(out); }
    static shared_map<K, V> decode(decoder& in) {
        using made = shared_map<K, V>;
        return made(detail::map_core::decode(in, made::tag()));
    }
};

}  // namespace bulkhead
