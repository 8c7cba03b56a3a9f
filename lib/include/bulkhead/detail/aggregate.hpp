/// @file
/// The fields of a plain aggregate. Boost.PFR binds them; how many there are is counted here, as the
/// counting of PFR 1.81 makes GCC 12 crash over an array of strings among them ("internal compiler
/// error: in check_noexcept_r"), fails over an optional<unique_ptr>, and takes each element of a
/// C array for a field.
#pragma once

#include <boost/pfr/core.hpp>

#include <cstddef>
#include <tuple>
#include <type_traits>
#include <utility>

// Elements of a C array are given without braces of their own.
#ifdef __clang__
#pragma clang diagnostic push
#pragma clang diagnostic ignored "-Wmissing-braces"
#endif

namespace bulkhead::detail {

/// What PFR 1.81 can bind.
inline constexpr std::size_t fields_max = 100;
/// A field counts as one, a C array as its elements. Bounds the time that compiling takes.
inline constexpr std::size_t initializers_max = 300;

template <class T>
concept holds_elements = requires(T& c) {
    typename T::value_type;
    c.begin();
};

enum class field_kind { any, plain, container, not_nested };

template <class Field>
constexpr bool is_of(field_kind kind) {
    if (kind == field_kind::any) return true;
    if constexpr (holds_elements<Field>) {
        if (kind == field_kind::not_nested) return !holds_elements<typename Field::value_type>;
        return kind == field_kind::container;
    } else {
        return kind != field_kind::container;
    }
}

/// Becomes whatever field of a kind it initializes; only named, never called. By value, as a
/// reference would have a vector<unique_ptr> copied.
template <field_kind Kind = field_kind::any>
struct any_field {
    constexpr explicit any_field(std::size_t) noexcept {}
    template <class Field>
    requires(is_of<Field>(Kind))
    operator Field() const;
};

struct no_field {};

template <class Derived>
struct any_base {
    template <class Base>
    requires(std::is_base_of_v<Base, Derived> && !std::is_same_v<Base, Derived>)
    operator Base() const;
};

/// A first field that takes whatever there is (a std::any) is no base.
template <class T>
concept has_base = requires { T{any_base<T>{}}; } && !requires { T{no_field{}}; };

template <class T, std::size_t... I>
constexpr bool takes(std::index_sequence<I...>) {
    return requires { T{any_field<>(I)...}; };
}

template <class T, field_kind Kind, std::size_t... I, std::size_t... After>
constexpr bool takes_kind(std::index_sequence<I...>, std::index_sequence<After...>) {
    return requires { T{any_field<>(I)..., any_field<Kind>(0), any_field<>(After)...}; };
}

template <class T, field_kind Kind, std::size_t... I, std::size_t... Within, std::size_t... After>
constexpr bool takes_braces(std::index_sequence<I...>, std::index_sequence<Within...>,
                            std::index_sequence<After...>) {
    return requires { T{any_field<>(I)..., {any_field<Kind>(Within)...}, any_field<>(After)...}; };
}

/// The most values that initialize T. Fewer need not do: a field that has no default may be among
/// those left out. 0 if nothing does.
template <class T, std::size_t Tried = 1, bool Found = false>
constexpr std::size_t count_initializers() {
    constexpr bool fits = takes<T>(std::make_index_sequence<Tried>{});
    if constexpr (Found && !fits) {
        return Tried - 1;
    } else if constexpr (Tried == initializers_max) {
        return 0;
    } else {
        return count_initializers<T, Tried + 1, fits>();
    }
}

/// How many of T's `All` initializers, from number `At` on, are the elements of one C array: of the
/// numbers of values in braces of their own, only the size of an array takes as many from what is
/// left for the fields behind. (An array of one element counts as a field.) Values of another kind
/// than the first initializer's are kept out of the braces: as the elements of a container, they
/// would have it copy them.
template <class T, field_kind Kind, std::size_t All, std::size_t At, std::size_t Tried = 2>
constexpr std::size_t array_size_at() {
    if constexpr (At + Tried > All) {
        return 1;
    } else {
        using before = std::make_index_sequence<At>;
        using within = std::make_index_sequence<Tried>;
        if constexpr (takes_braces<T, Kind>(before{}, within{},
                                            std::make_index_sequence<All - At - Tried>{}) &&
                      !takes_braces<T, Kind>(before{}, within{},
                                             std::make_index_sequence<All - At - Tried + 1>{})) {
            return Tried;
        } else {
            return array_size_at<T, Kind, All, At, Tried + 1>();
        }
    }
}

template <class T, std::size_t All, std::size_t At>
constexpr std::size_t initializers_of_field() {
    using before = std::make_index_sequence<At>;
    using after = std::make_index_sequence<All - At - 1>;
    if constexpr (!takes_kind<T, field_kind::not_nested>(before{}, after{})) {
        return 1;  // a container of containers; arrays of such are not told
    } else if constexpr (takes_kind<T, field_kind::plain>(before{}, after{})) {
        if constexpr (takes_braces<T, field_kind::plain>(before{}, std::index_sequence<0>{},
                                                         after{})) {
            return 1;
        } else {
            return array_size_at<T, field_kind::plain, All, At>();
        }
    } else {
        return array_size_at<T, field_kind::container, All, At>();
    }
}

template <class T, std::size_t All, std::size_t At = 0>
constexpr std::size_t count_fields() {
    if constexpr (At == All) {
        return 0;
    } else {
        return 1 + count_fields<T, All, At + initializers_of_field<T, All, At>()>();
    }
}

template <class T>
constexpr std::size_t checked_field_count() {
    static_assert(!std::is_union_v<T>,
                  "bulkhead: nobody can tell which member of this union is in use: send a "
                  "std::variant, or specialise bulkhead::codec<T>");
    if constexpr (std::is_empty_v<T> || std::is_union_v<T>) {
        return 0;
    } else if constexpr (has_base<T>) {
        static_assert(
            !has_base<T>,
            "bulkhead: this aggregate has a base class, whose fields cannot be told: make the "
            "base a member, or specialise bulkhead::codec<T>");
        return 0;
    } else {
        constexpr std::size_t fields = count_fields<T, count_initializers<T>()>();
        static_assert(
            fields != 0 && fields <= fields_max,
            "bulkhead: the fields of this aggregate cannot be told (at most 100, and at most "
            "300 with the elements of C arrays): specialise bulkhead::codec<T>");
        return fields <= fields_max ? fields : 0;
    }
}

template <class T>
inline constexpr std::size_t field_count = checked_field_count<T>();

/// References to the fields of `value`, in their order.
template <class T>
constexpr auto tie_fields(T& value) noexcept {
    namespace pfr = boost::pfr::detail;
    return pfr::tie_as_tuple(value, pfr::size_t_<field_count<std::remove_cv_t<T>>>{});
}

/// T's field number I, as it was declared.
template <class T, std::size_t I>
using field_type = std::remove_reference_t<decltype(boost::pfr::detail::sequence_tuple::get<I>(
    std::declval<decltype(tie_fields(std::declval<T&>()))&>()))>;

template <class Field, class F>
constexpr void for_each_element(const Field& field, F& f) {
    if constexpr (std::is_array_v<Field>) {
        for (const auto& element : field) for_each_element(element, f);
    } else {
        f(field);
    }
}

/// Calls `f` with each field of `value`, and with the elements of a C array one by one.
template <class T, class F>
constexpr void for_each_field(const T& value, F f) {
    const auto fields = tie_fields(value);
    [&]<std::size_t... I>(std::index_sequence<I...>) {
        (for_each_element(boost::pfr::detail::sequence_tuple::get<I>(fields), f), ...);
    }(std::make_index_sequence<field_count<T>>{});
}

/// The elements of a C array, of however many dimensions; 1 for anything else.
template <class Field>
inline constexpr std::size_t element_count = 1;
template <class Element, std::size_t N>
inline constexpr std::size_t element_count<Element[N]> = N * element_count<Element>;

/// Its second parameter only counts.
template <class Field, std::size_t>
using element_type = std::remove_all_extents_t<Field>;

template <class Field, std::size_t... I>
std::tuple<element_type<Field, I>...> elements_of(std::index_sequence<I...>);

template <class T, std::size_t... I>
auto elements_of_fields(std::index_sequence<I...>) -> decltype(std::tuple_cat(
    elements_of<field_type<T, I>>(std::make_index_sequence<element_count<field_type<T, I>>>{})...));

/// A std::tuple of the types that for_each_field() visits. A const one stays const, and codec<T> has no way for
/// a const string: it could be what a `const std::string&` refers to, which would dangle.
template <class T>
using field_types = decltype(elements_of_fields<T>(std::make_index_sequence<field_count<T>>{}));

/// A T of what `read(std::type_identity<E>)` returns for each E of field_types, called in their order.
template <class T, class Read>
T make_from_fields(Read read) {
    return [&]<class... E>(std::type_identity<std::tuple<E...>>) {
        return T{read(std::type_identity<E>{})...};
    }(std::type_identity<field_types<T>>{});
}

}  // namespace bulkhead::detail

#ifdef __clang__
#pragma clang diagnostic pop
#endif
