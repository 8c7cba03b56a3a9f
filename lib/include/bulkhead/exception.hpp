/// @file
/// A program's own exception types, thrown again as themselves.
/// @code
/// struct bad_pixel : std::runtime_error {
///     using std::runtime_error::runtime_error;
/// };
/// BULKHEAD_EXCEPTION(bad_pixel);
/// @endcode
#pragma once

#include <bulkhead/codec.hpp>
#include <bulkhead/error.hpp>

#include <string>
#include <type_traits>
#include <typeinfo>
#include <utility>

namespace bulkhead::detail {

struct registered_exception {
    const std::type_info* type;
    /// Writes the exception being handled, which is of the type.
    void (*encode_current)(encoder& out);
    /// Throws it anew; what it carried is in `in`.
    void (*rethrow)(decoder& in, remote_info info);
};

/// Before main() or in it, before init(). Several times for one type does no harm.
bool register_exception(const registered_exception& how);

/// The type itself, which also tells where it was thrown.
template <class T>
class thrown_again final : public T, public remote_info {
public:
    thrown_again(T thrown, remote_info info) : T(std::move(thrown)), remote_info(std::move(info)) {}
};

template <class T>
[[noreturn]] void throw_again(T thrown, remote_info info) {
    if constexpr (std::is_final_v<T> || std::is_base_of_v<remote_info, T>) {
        throw thrown;
    } else {
        throw thrown_again<T>(std::move(thrown), std::move(info));
    }
}

template <class T>
bool register_exception_type() {
    static_assert(std::is_class_v<T>, "bulkhead: BULKHEAD_EXCEPTION is for classes");
    static_assert(
        can_travel<T> || std::is_constructible_v<T, std::string>,
        "bulkhead: an exception type travels by a codec<T>, or is made anew from what() if it "
        "has a constructor that takes a std::string");
    registered_exception how{&typeid(T),
                             [](encoder& out) {
                                 if constexpr (can_travel<T>) {
                                     try {
                                         throw;
                                     } catch (const T& thrown) {
                                         out.write(thrown);
                                     }
                                 }
                             },
                             [](decoder& in, remote_info info) {
                                 if constexpr (can_travel<T>) {
                                     throw_again<T>(in.read<T>(), std::move(info));
                                 } else {
                                     std::string message = info.message();
                                     throw_again<T>(T(std::move(message)), std::move(info));
                                 }
                             }};
    if constexpr (!std::is_final_v<T> && !std::is_base_of_v<remote_info, T>) {
        // From a task of a task.
        registered_exception again = how;
        again.type = &typeid(thrown_again<T>);
        (void)register_exception(again);
    }
    return register_exception(how);
}

}  // namespace bulkhead::detail

/// At namespace scope, of a header or source file of the program: an exception of exactly this type that a task
/// throws is thrown by get() as this type and, unless it is final, as a remote_info. It travels by codec<T> where
/// that covers it (a specialisation, a `serialize`), else it is made from what() by a constructor that takes a
/// std::string. A process that does not know the type gets its nearest standard base.
#define BULKHEAD_EXCEPTION(...)                                                       \
    [[maybe_unused]] static const bool BULKHEAD_DETAIL_EXCEPTION(bulkhead_exception_, \
                                                                 __COUNTER__) =       \
        ::bulkhead::detail::register_exception_type<__VA_ARGS__>()
#define BULKHEAD_DETAIL_EXCEPTION(a, b) BULKHEAD_DETAIL_EXCEPTION_NOW(a, b)
#define BULKHEAD_DETAIL_EXCEPTION_NOW(a, b) a##b
