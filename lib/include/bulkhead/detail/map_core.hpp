/// @file
/// What of shared_map<K, V> needs no template: keys and values are bytes here.
#pragma once

#include <bulkhead/codec.hpp>
#include <bulkhead/detail/byte_sink.hpp>
#include <bulkhead/detail/handle.hpp>

#include <cstddef>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace bulkhead::detail {

using byte_view = std::span<const std::byte>;

/// Keys, values or both of all entries, one behind the other.
class map_copy {
public:
    enum class part : unsigned { keys = 1, values = 2, both = 3 };

    void add(byte_view piece) {
        bytes_.insert(bytes_.end(), piece.begin(), piece.end());
        ends_.push_back(bytes_.size());
    }
    [[nodiscard]] std::size_t size() const noexcept { return ends_.size(); }
    [[nodiscard]] byte_view operator[](std::size_t index) const noexcept {
        const std::size_t begin = index == 0 ? 0 : ends_[index - 1];
        return byte_view(bytes_).subspan(begin, ends_[index] - begin);
    }

private:
    std::vector<std::byte> bytes_;
    std::vector<std::size_t> ends_;
};

class map_core {
public:
    // A move is a copy: what was moved from still names its object.
    map_core(const map_core&) = default;
    map_core& operator=(const map_core&) = default;

    static map_core make(std::optional<std::size_t> capacity_bytes, type_tag type);
    static map_core create(const std::string& name, std::optional<std::size_t> capacity_bytes,
                           type_tag type);
    static map_core open(const std::string& name, type_tag type);
    static map_core open_or_create(const std::string& name,
                                   std::optional<std::size_t> capacity_bytes, type_tag type);
    static bool remove(const std::string& name);
    void encode(encoder& out) const;
    static map_core decode(decoder& in, type_tag type);

    [[nodiscard]] bool contains(byte_view key) const;
    /// Whether there is such a key; its value goes to `to`.
    bool get(byte_view key, byte_sink to) const;
    bool take(byte_view key, byte_sink to) const;
    /// False when there is one; that stays as it is.
    bool insert(byte_view key, byte_view value) const;
    /// False when there was one.
    bool insert_or_assign(byte_view key, byte_view value) const;
    bool erase(byte_view key) const;
    [[nodiscard]] std::size_t size() const;
    [[nodiscard]] map_copy copy(map_copy::part what) const;
    void clear() const;
    [[nodiscard]] bool damaged() const;
    [[nodiscard]] std::size_t capacity_bytes() const noexcept;
    [[noreturn]] void throw_no_such_key() const;

    class session;

private:
    class state;
    explicit map_core(std::shared_ptr<state> from) : state_(std::move(from)) {}

    std::shared_ptr<state> state_;
};

/// The map's lock, for a scope of one thread. Throws map_damaged, usage_error when this thread has it.
class map_core::session {
public:
    explicit session(const map_core& core);
    ~session();
    session(const session&) = delete;
    session& operator=(const session&) = delete;

    /// In the map's own memory, until it is changed.
    [[nodiscard]] std::optional<byte_view> find(byte_view key) const;
    /// As map_core::insert_or_assign.
    bool insert_or_assign(byte_view key, byte_view value);

private:
    friend map_core;

    std::shared_ptr<state> state_;  // the map outlives the session, whatever becomes of handles
};

}  // namespace bulkhead::detail
