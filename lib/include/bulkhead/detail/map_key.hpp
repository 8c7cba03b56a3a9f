/// @file
/// Which types can be keys that are compared by their encoded bytes.
#pragma once

#include <bulkhead/codec.hpp>

#include <cstddef>
#include <tuple>
#include <type_traits>
#include <utility>

namespace bulkhead::detail {

/// Types may hold themselves, in a vector; deeper than this nobody looks.
inline constexpr int key_depth_max = 16;

template <class T, int Depth>
constexpr bool has_one_encoding();

template <class T, int Depth, std::size_t... I>
constexpr bool elements_have_one_encoding(std::index_sequence<I...>) {
    return (has_one_encoding<std::remove_cv_t<std::tuple_element_t<I, T>>, Depth + 1>() && ...);
}

template <class T, int Depth, std::size_t... I>
constexpr bool alternatives_have_one_encoding(std::index_sequence<I...>) {
    return (has_one_encoding<std::variant_alternative_t<I, T>, Depth + 1>() && ...);
}

template <class T, int Depth>
constexpr bool fields_have_one_encoding() {
    return []<class... E>(std::type_identity<std::tuple<E...>>) {
        // What goes by memcpy has nothing between its fields.
        constexpr bool is_dense =
            !trivially_travels<T> || std::is_empty_v<T> || (sizeof(E) + ... + 0) == sizeof(T);
        return is_dense && (has_one_encoding<std::remove_cv_t<E>, Depth + 1>() && ...);
    }(std::type_identity<field_types<T>>{});
}

/// Whether equal values encode to equal bytes, as far as can be seen: not with padding in them, nor in an
/// order that depends on a history. A codec<T> of the program's own is trusted.
template <class T, int Depth>
constexpr bool has_one_encoding() {
    // NOLINTBEGIN(bugprone-branch-clone): cases in the order in which codec<T> has them
    if constexpr (!is_primary_codec<codec<T>> || Depth > key_depth_max ||
                  std::is_same_v<T, float> || std::is_same_v<T, double> ||
                  std::is_same_v<T, bool> ||
                  (trivially_travels<T> && std::has_unique_object_representations_v<T>) ||
                  path_like<T>) {
        return true;
    } else if constexpr (std_array<T>) {
        return has_one_encoding<typename T::value_type, Depth + 1>();
    } else if constexpr (trivially_travels<T> && !plain_aggregate<T>) {
        return std::is_empty_v<T>;
    } else if constexpr (optional_like<T>) {
        return has_one_encoding<typename T::value_type, Depth + 1>();
    } else if constexpr (unique_ptr_like<T>) {
        return has_one_encoding<typename T::element_type, Depth + 1>();
    } else if constexpr (variant_like<T>) {
        return alternatives_have_one_encoding<T, Depth>(
            std::make_index_sequence<std::variant_size_v<T>>{});
    } else if constexpr (tuple_like<T>) {
        return elements_have_one_encoding<T, Depth>(
            std::make_index_sequence<std::tuple_size_v<T>>{});
    } else if constexpr (container_like<T>) {
        return !requires { typename T::hasher; } &&
               has_one_encoding<typename T::value_type, Depth + 1>();
    } else if constexpr (plain_aggregate<T>) {
        return fields_have_one_encoding<T, Depth>();
    } else {
        return true;  // has no encoding, and codec<T> says so
    }
    // NOLINTEND(bugprone-branch-clone)
}

template <class K>
constexpr void check_map_key() {
    static_assert(
        has_one_encoding<K, 0>(),
        "bulkhead: a shared_map compares keys by their encoded bytes, and equal keys of "
        "this type may differ in these (unused bytes between its members, a long double, an "
        "unordered container): make the key a tuple of its members, order its members so "
        "that there are no gaps, or specialise bulkhead::codec<K>");
}

}  // namespace bulkhead::detail
