/// @file
/// A callable's parameters, and the types in which their arguments are stored.
#pragma once

#include <bulkhead/detail/codec_traits.hpp>
#include <bulkhead/detail/handle.hpp>

#include <span>
#include <stop_token>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

namespace bulkhead::detail {

// ---- the signature of a callable -------------------------------------------------------------

template <class... P>
struct parameter_list {};

template <class F>
struct signature {
    static constexpr bool known = false;
};

template <class R, class... P>
struct known_signature {
    static constexpr bool known = true;
    using parameters = parameter_list<P...>;
};

template <class R, class... P>
struct signature<R (*)(P...)> : known_signature<R, P...> {};
template <class R, class... P>
struct signature<R (*)(P...) noexcept> : known_signature<R, P...> {};

template <class M>
struct member_signature {
    static constexpr bool known = false;
};
template <class C, class R, class... P>
struct member_signature<R (C::*)(P...)> : known_signature<R, P...> {};
template <class C, class R, class... P>
struct member_signature<R (C::*)(P...) const> : known_signature<R, P...> {};
template <class C, class R, class... P>
struct member_signature<R (C::*)(P...) noexcept> : known_signature<R, P...> {};
template <class C, class R, class... P>
struct member_signature<R (C::*)(P...) const noexcept> : known_signature<R, P...> {};
template <class C, class R, class... P>
struct member_signature<R (C::*)(P...)&> : known_signature<R, P...> {};
template <class C, class R, class... P>
struct member_signature<R (C::*)(P...) const&> : known_signature<R, P...> {};
template <class C, class R, class... P>
struct member_signature<R (C::*)(P...) & noexcept> : known_signature<R, P...> {};
template <class C, class R, class... P>
struct member_signature<R (C::*)(P...) const & noexcept> : known_signature<R, P...> {};

template <class F>
requires requires { &F::operator(); }
struct signature<F> : member_signature<decltype(&F::operator())> {};

// ---- what is stored for a parameter ----------------------------------------------------------

/// The type in which an argument travels for a parameter P.
template <class P>
struct stored_as {
    using type = std::remove_cvref_t<P>;
};
template <class Char, class Traits>
struct stored_as<std::basic_string_view<Char, Traits>> {
    using type = std::basic_string<Char, Traits>;
};
template <class T>
struct stored_as<std::span<const T>> {
    using type = std::vector<T>;
};
template <class P>
using stored = typename stored_as<
    std::conditional_t<std::is_reference_v<P>, std::remove_cvref_t<P>, std::remove_cv_t<P>>>::type;

template <class P>
inline constexpr bool is_out_parameter =
    std::is_lvalue_reference_v<P> && !std::is_const_v<std::remove_reference_t<P>> &&
    !is_handle<std::remove_cvref_t<P>>;

/// As in a direct call; and a view's text, which nobody means to keep otherwise, becomes a string. Not what only a
/// cast would do: take ownership of what a pointer points to, or make so many elements of a number.
template <class A, class S>
concept converts_to_parameter =
    std::is_convertible_v<A, S> || (std::is_constructible_v<S, A> &&
                                    is_instance_of<std::remove_cvref_t<A>, std::basic_string_view>);

/// Hands a stored value to a parameter P: moved, unless P is an lvalue reference.
template <class P, class S>
decltype(auto) pass(S& value) {
    if constexpr (std::is_lvalue_reference_v<P>) {
        if constexpr (std::is_same_v<stored<P>, std::remove_cvref_t<P>>) {
            return static_cast<S&>(value);
        } else {
            return std::remove_cvref_t<P>(value);
        }
    } else if constexpr (std::is_same_v<S, std::remove_cvref_t<P>>) {
        return static_cast<S&&>(value);
    } else {
        return std::remove_cvref_t<P>(value);
    }
}

template <class List>
struct without_stop_token {
    static constexpr bool takes_token = false;
    using type = List;
};
template <class First, class... P>
requires std::is_convertible_v<std::stop_token, First> &&
         std::is_same_v<std::remove_cvref_t<First>, std::stop_token>
struct without_stop_token<parameter_list<First, P...>> {
    static constexpr bool takes_token = true;
    using type = parameter_list<P...>;
};

/// For a callable with a known signature its parameters, else (a generic lambda) the arguments.
template <class F, class... A>
struct parameters_for {
    using all = parameter_list<std::decay_t<A>...>;
};
template <class F, class... A>
requires(signature<F>::known)
struct parameters_for<F, A...> {
    using all = typename signature<F>::parameters;
};

}  // namespace bulkhead::detail
