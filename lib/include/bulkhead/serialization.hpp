/// @file
/// Classes with a Boost.Serialization `serialize` as arguments, results and messages. An opt-in
/// header: include it in the header that defines such a class, so that codec<T> is the same in
/// every source file of the program (a file that does not see it would encode the class in another
/// way).
/// @code
/// #include <bulkhead/serialization.hpp>
/// class account {
///     friend class boost::serialization::access;
///     template <class Archive>
///     void serialize(Archive& archive, unsigned) { archive & owner_ & cents_; }
///     ...
/// };
/// @endcode
/// Boost.Serialization is a library to link with. CMake: `find_package(bulkhead CONFIG REQUIRED
/// COMPONENTS serialization)` and `target_link_libraries(app PRIVATE bulkhead::serialization)`; by
/// hand: -lboost_serialization.
///
/// Which classes. One with a member `serialize` of its own, public or private with `friend class
/// boost::serialization::access` (a private one in a `final` class is not seen); or with a function
/// `serialize(Archive&, T&, unsigned)` in its own namespace or in boost::serialization, declared
/// before the class is first used as an argument or result. The SPLIT macros make the same. A class
/// without a default constructor needs save_construct_data and load_construct_data overloads, as
/// for pointers.
///
/// Precedence. A specialisation of codec<T> is used before `serialize`; a member `serialize` before
/// all ways of codec.hpp, also where T is a plain aggregate or trivially copyable; a function only
/// before the way of plain aggregates, field by field. So what codec.hpp covers of the standard library stays with it,
/// whatever of boost/serialization/ is included, and uses `serialize` for its elements. A partial
/// specialisation of codec that also fits is ambiguous.
///
/// Bytes. A binary archive without header for each value: native, for processes of one build.
/// Objects behind pointers are tracked within one value, not from one to the next.
///
/// Errors. What an archive refuses (truncated bytes, a class that was not exported) is codec_error, and so are
/// a length of a string or container that the bytes left cannot hold, and what `serialize` itself
/// throws, with its message; an `error` of this library passes through, and so does std::bad_alloc where a
/// value is encoded. Not all corrupted bytes are found out: a container may be given
/// one element for each byte left, whatever an element's size; a `serialize` that reads a length of
/// its own must check it; and the id of a tracked object behind a pointer may lead to an object of
/// another type. So classes with pointers are for processes that are trusted: let what a hostile
/// one may send go by codec.hpp's own ways.
#pragma once

#include <bulkhead/codec.hpp>

#include <boost/archive/archive_exception.hpp>
#include <boost/archive/binary_iarchive_impl.hpp>
#include <boost/archive/binary_oarchive.hpp>
#include <boost/archive/detail/register_archive.hpp>
#include <boost/archive/impl/archive_serializer_map.ipp>
#include <boost/archive/impl/basic_binary_iarchive.ipp>
#include <boost/archive/impl/basic_binary_iprimitive.ipp>
#include <boost/serialization/access.hpp>
#include <boost/serialization/array_optimization.hpp>
#include <boost/serialization/collection_size_type.hpp>
#include <boost/serialization/serialization.hpp>

#include <algorithm>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cxxabi.h>
#include <exception>
#include <memory>
#include <new>
#include <stdexcept>
#include <streambuf>
#include <string>
#include <type_traits>
#include <utility>

namespace bulkhead::detail {

// ---- which classes

/// A class with a member of that name, whoever may access it, makes the name ambiguous in `both`.
struct name_serialize {
    int serialize;
};
template <class T>
struct has_name_serialize {
    struct both : T, name_serialize {};
    static constexpr bool value = !requires { &both::serialize; };
};
template <class T>
requires std::is_final_v<T>
struct has_name_serialize<T> {
    static constexpr bool value =
        requires(T& t, boost::archive::binary_oarchive& to) { t.serialize(to, 0U); };
};

template <class Member>
struct class_of_member;
template <class C, class R, class... A>
struct class_of_member<R (C::*)(A...)> {
    using type = C;
};
template <class C, class R, class... A>
struct class_of_member<R (C::*)(A...) const> {
    using type = C;
};

/// Its own: one that is inherited would leave out what the class adds.
template <class T>
consteval bool has_member_serialize() {
    using archive = boost::archive::binary_oarchive;
    if constexpr (!has_name_serialize<T>::value) {
        return false;
    } else if constexpr (requires {
                             typename class_of_member<
                                 decltype(&T::template serialize<archive>)>::type;
                         }) {
        return std::is_same_v<
            typename class_of_member<decltype(&T::template serialize<archive>)>::type, T>;
    } else if constexpr (requires { &T::serialize; }) {
        return requires(T& t, archive& to) { t.serialize(to, 0U); };
    } else {
        return true;  // private
    }
}

/// Ranks between the function that Boost has for every class and those for particular classes: with
/// one of these it is ambiguous.
namespace serialize_probe {
struct archive {};
struct none {};
template <class T>
none serialize(archive& to, T& value, unsigned int version);

template <class T>
concept finds_nothing =
    requires(archive& to, T& value, boost::serialization::version_type version) {
        { serialize(to, value, version) } -> std::same_as<none>;
    };
}  // namespace serialize_probe

template <class T>
inline constexpr bool of_standard_shape =
    path_like<T> || optional_like<T> || unique_ptr_like<T> || variant_like<T> || std_array<T> ||
    tuple_like<T> || container_like<T> || refused_view<T>;

template <class T>
concept boost_serializable =
    std::is_class_v<T> && !std::is_abstract_v<T> &&
    (has_member_serialize<T>() || (!of_standard_shape<T> && !std::is_trivially_copyable_v<T> &&
                                   !serialize_probe::finds_nothing<T>));

// ---- archives over messages

class encoder_streambuf final : public std::streambuf {
public:
    explicit encoder_streambuf(encoder& to) : to_(to) {}

private:
    std::streamsize xsputn(const char* bytes, std::streamsize count) override {
        to_.write_bytes(bytes, static_cast<std::size_t>(count));
        return count;
    }
    int_type overflow(int_type byte) override {
        if (traits_type::eq_int_type(byte, traits_type::eof())) return traits_type::not_eof(byte);
        const char one = traits_type::to_char_type(byte);
        to_.write_bytes(&one, 1);
        return byte;
    }

    encoder& to_;
};

class decoder_streambuf final : public std::streambuf {
public:
    explicit decoder_streambuf(decoder& from) : from_(from) {}

private:
    std::streamsize xsgetn(char* bytes, std::streamsize count) override {
        const auto some = std::min(static_cast<std::size_t>(count), from_.remaining());
        from_.read_bytes(bytes, some);
        return static_cast<std::streamsize>(some);
    }
    int_type uflow() override {
        char one = 0;
        return xsgetn(&one, 1) == 1 ? traits_type::to_int_type(one) : traits_type::eof();
    }

    decoder& from_;
};

/// Boost's binary archive, but it believes no length that the bytes left cannot hold.
class checked_iarchive
    : public boost::archive::binary_iarchive_impl<checked_iarchive, char, std::char_traits<char>> {
    using base =
        boost::archive::binary_iarchive_impl<checked_iarchive, char, std::char_traits<char>>;
    friend class boost::archive::load_access;
    friend class boost::archive::detail::interface_iarchive<checked_iarchive>;
    friend class boost::archive::basic_binary_iarchive<checked_iarchive>;

public:
    checked_iarchive(std::streambuf& bytes, const decoder& from, unsigned flags)
        : base(bytes, flags), from_(from) {}

private:
    /// Elements of empty classes take no bytes.
    static constexpr std::size_t empty_elements_max = 4096;

    template <class T>
    void load_override(T& value) {
        base::load_override(value);
    }
    void load_override(boost::serialization::collection_size_type& count) {
        base::load_override(count);
        const std::size_t wanted = std::as_const(count);
        check(wanted, std::max(from_.remaining(), empty_elements_max));
    }

    template <class T>
    void load(T& value) {
        base::load(value);
    }
    void load(std::string& text) { load_text(text); }
    void load(std::wstring& text) { load_text(text); }

    template <class Text>
    void load_text(Text& text) {
        std::size_t count = 0;
        base::load(count);
        check(count, from_.remaining() / sizeof(typename Text::value_type));
        text.resize(count);
        if (count != 0) load_binary(text.data(), count * sizeof(typename Text::value_type));
    }

    static void check(std::size_t count, std::size_t count_max) {
        if (count > count_max) throw_bad_value("an archive with an impossible length");
    }

    const decoder& from_;
};

inline constexpr unsigned archive_flags = boost::archive::no_header | boost::archive::no_codecvt;

/// What is being handled, as a codec_error.
[[noreturn]] inline void throw_archive_failure(const char* what) {
    std::string why;
    try {
        throw;
    } catch (const error&) {  // a codec_error, or the system's: no memory, no descriptor
        throw;
    } catch (const abi::__forced_unwind&) {
        throw;
    } catch (const std::length_error& failure) {
        why = std::string("a length that is impossible: ") + failure.what();
    } catch (const std::bad_alloc& failure) {
        why = std::string("no memory for the length that it has: ") + failure.what();
    } catch (const std::exception& failure) {
        why = failure.what();
    } catch (...) {
        why = "it threw something that is no std::exception";
    }
    throw codec_error(std::string("bulkhead: a class with a Boost.Serialization serialize() ") +
                      what + ": " + why);
}

}  // namespace bulkhead::detail

BOOST_SERIALIZATION_REGISTER_ARCHIVE(bulkhead::detail::checked_iarchive)
BOOST_SERIALIZATION_USE_ARRAY_OPTIMIZATION(bulkhead::detail::checked_iarchive)

namespace bulkhead {

template <class T>
requires detail::boost_serializable<T>
struct codec<T> {
    static void encode(encoder& out, const T& value) {
        const encoder::nested guard(out);
        out.write(mark);
        detail::encoder_streambuf bytes(out);
        try {
            boost::archive::binary_oarchive archive(bytes, detail::archive_flags);
            if constexpr (by_value) {
                archive << value;
            } else {
                const T* const at = std::addressof(value);
                archive << at;
            }
        } catch (const std::bad_alloc&) {
            throw;
        } catch (...) {
            detail::throw_archive_failure("does not encode");
        }
    }

    static T decode(decoder& in) {
        const decoder::nested guard(in);
        if (in.read<std::uint8_t>() != mark) {
            detail::throw_bad_value("an archive with a wrong mark");
        }
        detail::decoder_streambuf bytes(in);
        try {
            detail::checked_iarchive archive(bytes, in, detail::archive_flags);
            if constexpr (by_value) {
                T value;
                archive >> value;
                return value;
            } else {
                T* loaded = nullptr;
                archive >> loaded;
                const std::unique_ptr<T> owned(loaded);
                if (!owned) detail::throw_bad_value("no object where there must be one");
                return T(std::move(*owned));
            }
        } catch (...) {
            detail::throw_archive_failure("does not decode");
        }
    }

private:
    static constexpr std::uint8_t mark = 0;
    /// Else as an object behind a pointer, which Boost constructs.
    static constexpr bool by_value = std::is_default_constructible_v<T>;
};

}  // namespace bulkhead
