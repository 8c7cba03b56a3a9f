/// @file
/// How values become bytes and back. A type of your own travels by itself when it is trivially
/// copyable or a plain aggregate; for any other, specialise codec:
/// @code
/// template <> struct bulkhead::codec<matrix> {
///     static void encode(encoder& out, const matrix& m) { out.write(m.rows()); out.write(m.data()); }
///     static matrix decode(decoder& in) {
///         const auto rows = in.read<int>();
///         return matrix(rows, in.read<std::vector<double>>());
///     }
/// };
/// @endcode
/// The bytes are for processes of one build on one machine: native byte order, no versioning.
#pragma once

#include <bulkhead/detail/aggregate.hpp>
#include <bulkhead/detail/codec_traits.hpp>
#include <bulkhead/error.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <new>
#include <span>
#include <system_error>
#include <type_traits>
#include <utility>
#include <vector>

namespace bulkhead {

template <class T>
struct codec;

/// Values within values (a list by unique_ptr, a tree) may nest this deep; deeper is codec_error, so
/// that hostile bytes cannot overflow the reader's stack.
inline constexpr int nesting_depth_max = 500;

/// Where a value's bytes go. One thread at a time.
class encoder {
public:
    encoder(const encoder&) = delete;
    encoder& operator=(const encoder&) = delete;

    template <class T>
    void write(const T& value) {
        codec<T>::encode(*this, value);
    }

    void write_bytes(const void* data, std::size_t bytes) {
        if (bytes > static_cast<std::size_t>(end_ - pos_)) grow(bytes);
        if (bytes != 0) std::memcpy(pos_, data, bytes);
        pos_ += bytes;
    }

    /// Bytes written so far.
    [[nodiscard]] std::size_t size() const noexcept {
        return static_cast<std::size_t>(pos_ - begin_);
    }

    /// Keeps `object` alive until the message has been dealt with: how a handle makes sure that what
    /// it names still exists when the receiver looks. Throws codec_error where a message outlives
    /// its sender (a queue) and so cannot keep anything alive.
    virtual void keep_alive(std::shared_ptr<const void> object) = 0;
    /// The same of an object that other processes reach through a descriptor of its own. In a task's result it
    /// goes along with the message, which then does without this process. -1: there is none.
    virtual void keep_reachable(std::shared_ptr<const void> object,
                                [[maybe_unused]] int descriptor) {
        keep_alive(std::move(object));
    }

    /// Counts nested values; throws codec_error beyond nesting_depth_max.
    class nested {
    public:
        explicit nested(encoder& owner);
        ~nested() { --owner_.depth_; }
        nested(const nested&) = delete;
        nested& operator=(const nested&) = delete;

    private:
        encoder& owner_;
    };

protected:
    encoder() = default;
    ~encoder() = default;

    /// Makes room for at least `bytes` more behind pos_, keeping what is written.
    virtual void grow(std::size_t bytes) = 0;

    std::byte* begin_ = nullptr;
    std::byte* pos_ = nullptr;
    std::byte* end_ = nullptr;
    int depth_ = 0;
};

/// Reads a value's bytes; every read is checked against what is left, and a length is believed only
/// after it was compared with it. Throws codec_error. One thread at a time. The bytes may lie in
/// memory that a hostile process is still writing to: each is read once.
class decoder {
public:
    explicit decoder(std::span<const std::byte> bytes) noexcept
        : pos_(bytes.data()), end_(bytes.data() + bytes.size()) {}

    template <class T>
    [[nodiscard]] T read() {
        return codec<T>::decode(*this);
    }

    void read_bytes(void* out, std::size_t bytes) {
        const std::byte* from = take(bytes);
        if (bytes != 0) std::memcpy(out, from, bytes);
        // The copy is final: a value that was checked is not loaded again from shared memory.
        asm volatile("" : : "r"(out) : "memory");
    }

    /// The next `bytes` bytes in place, valid as long as the message is; any alignment.
    [[nodiscard]] const std::byte* take(std::size_t bytes) {
        if (bytes > remaining()) throw_truncated(bytes);
        const std::byte* from = pos_;
        pos_ += bytes;
        return from;
    }

    [[nodiscard]] std::size_t remaining() const noexcept {
        return static_cast<std::size_t>(end_ - pos_);
    }

    /// Reads an element count and refuses one that the bytes left cannot hold: each element takes
    /// at least `element_bytes_min` (at least 1).
    [[nodiscard]] std::size_t read_count(std::size_t element_bytes_min = 1);

    /// Throws codec_error unless everything was read: a message longer than its value is a lie.
    void expect_end() const;

    /// Counts nested values; throws codec_error beyond nesting_depth_max.
    class nested {
    public:
        explicit nested(decoder& owner);
        ~nested() { --owner_.depth_; }
        nested(const nested&) = delete;
        nested& operator=(const nested&) = delete;

    private:
        decoder& owner_;
    };

private:
    [[noreturn]] void throw_truncated(std::size_t bytes) const;

    const std::byte* pos_;
    const std::byte* end_;
    int depth_ = 0;
};

namespace detail {

[[noreturn]] void throw_bad_value(const char* what);
[[noreturn]] void throw_empty_element();

inline void write_count(encoder& out, std::size_t count) {
    const auto wide = static_cast<std::uint64_t>(count);
    out.write_bytes(&wide, sizeof wide);
}

/// A wire element takes at least one byte, so that a count can be checked against what is left.
template <class T>
void write_element(encoder& out, const T& value) {
    const std::size_t before = out.size();
    out.write(value);
    if (out.size() == before) throw_empty_element();
}

template <class T>
T read_trivial(decoder& in) {
    // Through a buffer: T need not be default constructible.
    alignas(T) std::byte buffer[sizeof(T)];
    in.read_bytes(buffer, sizeof(T));
    return std::move(*std::launder(reinterpret_cast<T*>(buffer)));
}

template <class Container>
void encode_elements(encoder& out, const Container& values) {
    using T = typename Container::value_type;
    std::size_t count = 0;
    if constexpr (has_size<Container>) {
        count = values.size();
    } else {
        for ([[maybe_unused]] const auto& value : values) ++count;
    }
    write_count(out, count);
    if constexpr (contiguous_trivial<Container>) {
        out.write_bytes(values.data(), count * sizeof(T));
    } else if constexpr (std::is_same_v<T, bool>) {
        for (const bool value : values) out.write(value);
    } else {
        const encoder::nested guard(out);
        for (const auto& value : values) write_element(out, value);
    }
}

template <class Container>
Container decode_elements(decoder& in) {
    using T = typename Container::value_type;
    Container values;
    if constexpr (contiguous_trivial<Container>) {
        const std::size_t count = in.read_count(sizeof(T));
        const std::byte* from = in.take(count * sizeof(T));
        if (reinterpret_cast<std::uintptr_t>(from) % alignof(T) == 0) {
            const T* first = reinterpret_cast<const T*>(from);
            values.assign(first, first + count);  // one pass, where resize would first fill
        } else {
            values.resize(count);
            if (count != 0) std::memcpy(values.data(), from, count * sizeof(T));
        }
    } else {
        const std::size_t count = in.read_count();
        const decoder::nested guard(in);
        // Reserved only within what the message can justify: a count costs a byte, an element may
        // be much larger.
        if constexpr (has_reserve<Container>) values.reserve(std::min<std::size_t>(count, 4096));
        for (std::size_t i = 0; i != count; ++i) append_element(values, in.read<wire_element<T>>());
    }
    return values;
}

template <class T, std::size_t... I>
T decode_tuple(decoder& in, std::index_sequence<I...>) {
    // Braces: the elements are read in their order.
    return T{in.read<std::remove_cv_t<std::tuple_element_t<I, T>>>()...};
}

template <class V, std::size_t... I>
V decode_variant(decoder& in, std::size_t index, std::index_sequence<I...>) {
    using reader = V (*)(decoder&);
    static constexpr reader readers[] = {[](decoder& from) {
        return V(std::in_place_index<I>, from.read<std::variant_alternative_t<I, V>>());
    }...};
    return readers[index](in);
}

}  // namespace detail

/// Converts T to bytes and back. This primary template covers what the contract lists; specialise it
/// for classes of your own. `encode` must write at least one byte.
template <class T>
struct codec {
    static void encode(encoder& out, const T& value) {
        using namespace detail;
        if constexpr (refused_view<T>) {
            static_assert(always_false<T>,
                          "bulkhead: this type points into the sender's memory (a pointer, "
                          "string_view, span or reference) and means nothing in another process; "
                          "pass the data by value, e.g. std::string or std::vector");
        } else if constexpr (std::is_same_v<T, bool>) {
            const std::uint8_t byte = value ? 1 : 0;
            out.write_bytes(&byte, 1);
        } else if constexpr (trivially_travels<T> && std::is_empty_v<T>) {
            // Its bytes were never given a value; sanitizers and compilers mind their being read.
            const std::byte nothing[sizeof(T)]{};
            out.write_bytes(nothing, sizeof(T));
        } else if constexpr (trivially_travels<T>) {
            out.write_bytes(std::addressof(value), sizeof(T));
        } else if constexpr (path_like<T>) {
            out.write(value.native());
        } else if constexpr (optional_like<T> || unique_ptr_like<T>) {
            const encoder::nested guard(out);
            out.write(static_cast<bool>(value));
            if (value) out.write(*value);
        } else if constexpr (variant_like<T>) {
            if (value.valueless_by_exception()) throw_bad_value("a variant without a value");
            write_count(out, value.index());
            std::visit([&](const auto& inner) { out.write(inner); }, value);
        } else if constexpr (std_array<T>) {
            out.write(std::uint8_t{0});
            for (const auto& inner : value) out.write(inner);
        } else if constexpr (tuple_like<T>) {
            out.write(std::uint8_t{0});
            std::apply([&](const auto&... inner) { (out.write(inner), ...); }, value);
        } else if constexpr (container_like<T>) {
            encode_elements(out, value);
        } else if constexpr (plain_aggregate<T>) {
            const encoder::nested guard(out);
            for_each_field(value, [&](const auto& field) { out.write(field); });
        } else {
            refuse();
        }
    }

    static T decode(decoder& in) {
        using namespace detail;
        if constexpr (refused_view<T>) {
            static_assert(always_false<T>,
                          "bulkhead: this type points into the sender's memory (a pointer, "
                          "string_view, span or reference) and means nothing in another process; "
                          "pass the data by value, e.g. std::string or std::vector");
        } else if constexpr (std::is_same_v<T, bool>) {
            std::uint8_t byte = 0;
            in.read_bytes(&byte, 1);
            if (byte > 1) throw_bad_value("a bool that is neither true nor false");
            return byte == 1;
        } else if constexpr (trivially_travels<T>) {
            return read_trivial<T>(in);
        } else if constexpr (path_like<T>) {
            return T(in.read<typename T::string_type>());
        } else if constexpr (optional_like<T>) {
            const decoder::nested guard(in);
            if (!in.read<bool>()) return T{};
            return T(in.read<typename T::value_type>());
        } else if constexpr (unique_ptr_like<T>) {
            const decoder::nested guard(in);
            if (!in.read<bool>()) return T{};
            return T(new typename T::element_type(in.read<typename T::element_type>()));
        } else if constexpr (variant_like<T>) {
            constexpr std::size_t alternatives = std::variant_size_v<T>;
            const auto index = in.read<std::uint64_t>();
            if (index >= alternatives) throw_bad_value("a variant with an impossible index");
            return decode_variant<T>(in, static_cast<std::size_t>(index),
                                     std::make_index_sequence<alternatives>{});
        } else if constexpr (std_array<T> || tuple_like<T>) {
            if (in.read<std::uint8_t>() != 0) throw_bad_value("a tuple with a wrong mark");
            return decode_tuple<T>(in, std::make_index_sequence<std::tuple_size_v<T>>{});
        } else if constexpr (container_like<T>) {
            return decode_elements<T>(in);
        } else if constexpr (plain_aggregate<T>) {
            const decoder::nested guard(in);
            return make_from_fields<T>(
                [&]<class E>(std::type_identity<E>) { return in.read<E>(); });
        } else {
            refuse();
        }
    }

    /// Only this primary template has it: tells a specialisation apart.
    using is_primary = void;

private:
    template <class U = T>
    [[noreturn]] static void refuse() {
        static_assert(detail::always_false<U>,
                      "bulkhead: a value of this type (codec<T>, T named above) cannot travel to "
                      "another process: make it a plain aggregate, specialise bulkhead::codec<T>, "
                      "or pass what it holds as separate arguments");
    }
};

/// Its category travels by name: one of the standard library's arrives as itself, and any other as one that only knows
/// the value.
template <>
struct codec<std::error_code> {
    static void encode(encoder& out, const std::error_code& value);
    static std::error_code decode(decoder& in);
};
template <>
struct codec<std::error_condition> {
    static void encode(encoder& out, const std::error_condition& value);
    static std::error_condition decode(decoder& in);
};

/// Whether codec<T> has a way for T itself (the types inside a container or aggregate are looked at
/// only when it is used).
template <class T>
inline constexpr bool can_travel =
    !detail::is_primary_codec<codec<T>> || (detail::known_shape<T> && !detail::refused_view<T>);

}  // namespace bulkhead
