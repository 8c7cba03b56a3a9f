/// @file
/// Which shape a type has, for codec<T>. Shapes are recognised by their members, so that no
/// container header is pulled in.
#pragma once

#include <array>
#include <concepts>
#include <cstddef>
#include <functional>
#include <initializer_list>
#include <memory>
#include <optional>
#include <ranges>
#include <span>
#include <string>
#include <string_view>
#include <tuple>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

namespace bulkhead {
class encoder;
class decoder;
template <class T>
struct codec;
}  // namespace bulkhead

namespace bulkhead::detail {

template <class>
inline constexpr bool always_false = false;

template <class T, template <class...> class Template>
inline constexpr bool is_instance_of = false;
template <template <class...> class Template, class... A>
inline constexpr bool is_instance_of<Template<A...>, Template> = true;

template <class T>
inline constexpr bool is_span = false;
template <class T, std::size_t N>
inline constexpr bool is_span<std::span<T, N>> = true;

template <class T>
inline constexpr bool std_array_any = false;
template <class T, std::size_t N>
inline constexpr bool std_array_any<std::array<T, N>> = true;

/// Holds an address of the sender.
template <class T>
concept refused_view =
    std::is_pointer_v<T> || std::is_member_pointer_v<T> || std::is_reference_v<T> || is_span<T> ||
    is_instance_of<T, std::basic_string_view> || is_instance_of<T, std::reference_wrapper> ||
    is_instance_of<T, std::initializer_list> || std::ranges::view<T>;

template <class C, class R>
C declaring_class(R (C::*)());
template <class C, class R>
C declaring_class(R (C::*)() const);

/// A class that adds members to one that is recognised by its own, and would lose them on the way. What is an
/// aggregate has its base refused by name.
template <class T, class Base>
inline constexpr bool extends =
    std::is_aggregate_v<T> || (!std::is_same_v<T, Base> && sizeof(T) != sizeof(Base));

template <class T>
concept path_like = requires(const T& path) {
    typename T::string_type;
    { path.native() } -> std::same_as<const typename T::string_type&>;
    T::preferred_separator;
    requires !extends<T, decltype(declaring_class(&T::native))>;
};

template <class T>
concept optional_like = is_instance_of<T, std::optional>;

template <class T>
concept unique_ptr_like =
    is_instance_of<T, std::unique_ptr> && !std::is_array_v<typename T::element_type> &&
    std::same_as<typename T::deleter_type, std::default_delete<typename T::element_type>>;

template <class T>
concept variant_like = is_instance_of<T, std::variant>;

template <class T>
concept std_array = std_array_any<T>;

template <class T>
concept tuple_like = is_instance_of<T, std::tuple> || is_instance_of<T, std::pair>;

/// Goes by memcpy. Standard templates are left to their own branches: whether pair<const K, V> is
/// trivially copyable differs between compilers, and from pair<K, V>.
template <class T>
concept trivially_travels =
    std::is_trivially_copyable_v<T> && !refused_view<T> && !std::is_same_v<T, bool> &&
    std::is_move_constructible_v<T> && !std::is_array_v<T> && !tuple_like<T> && !optional_like<T> &&
    !variant_like<T>;

/// A container whose order, hash or equality is a value that does not travel: the receiver's would have none.
template <class T>
inline constexpr bool is_a_call_by_address =
    std::is_pointer_v<T> || is_instance_of<T, std::function>;
template <class T>
concept ordered_by_value = (requires { requires is_a_call_by_address<typename T::key_compare>; }) ||
                           (requires { requires is_a_call_by_address<typename T::hasher>; }) ||
                           (requires { requires is_a_call_by_address<typename T::key_equal>; });

template <class T>
concept container_like =
    !refused_view<T> && std::default_initializable<T> && !ordered_by_value<T> &&
    !(requires { requires extends<T, decltype(declaring_class(&T::clear))>; }) &&
    requires(T& c, const T& k) {
        typename T::value_type;
        k.begin();
        k.end();
        c.clear();
    } &&
    (
        requires(T& c, typename T::value_type&& v) { c.push_back(std::move(v)); } ||
        requires(T& c, typename T::value_type&& v) { c.insert(std::move(v)); } ||
        requires(T& c, typename T::value_type&& v) { c.insert_after(c.begin(), std::move(v)); });

template <class T>
concept plain_aggregate = std::is_aggregate_v<T> && !std::is_array_v<T> && !std_array<T>;

template <class T>
inline constexpr bool known_shape =
    std::is_same_v<T, bool> || trivially_travels<T> || path_like<T> || optional_like<T> ||
    unique_ptr_like<T> || variant_like<T> || std_array<T> || tuple_like<T> || container_like<T> ||
    plain_aggregate<T>;

template <class Codec>
concept is_primary_codec = requires { typename Codec::is_primary; };

template <class C>
concept has_size = requires(const C& c) {
    { c.size() } -> std::convertible_to<std::size_t>;
};

template <class C>
concept has_reserve = requires(C& c) { c.reserve(std::size_t{1}); };

template <class C>
concept has_bulk_assign = requires(C& c) { c.resize(std::size_t{1}); };

/// vector<int>, string: one memcpy.
template <class C>
concept contiguous_trivial =
    requires(const C& c) {
        { c.data() } -> std::same_as<const typename C::value_type*>;
    } && trivially_travels<typename C::value_type> &&
    is_primary_codec<codec<typename C::value_type>> && has_bulk_assign<C> &&
    std::default_initializable<typename C::value_type>;

/// map's value_type has a const key, which cannot be moved out of a decoder's result.
template <class T>
struct wire_element_of {
    using type = T;
};
template <class K, class V>
struct wire_element_of<std::pair<const K, V>> {
    using type = std::pair<K, V>;
};
template <class T>
using wire_element = typename wire_element_of<T>::type;

template <class C, class V>
void append_element(C& values, V&& value) {
    if constexpr (requires { values.push_back(std::forward<V>(value)); }) {
        values.push_back(std::forward<V>(value));
    } else if constexpr (requires { values.insert(std::forward<V>(value)); }) {
        values.insert(std::forward<V>(value));
    } else {
        // forward_list: rare, so the walk to its end is accepted.
        auto last = values.before_begin();
        for (auto next = values.begin(); next != values.end(); ++next) last = next;
        values.insert_after(last, std::forward<V>(value));
    }
}

}  // namespace bulkhead::detail
