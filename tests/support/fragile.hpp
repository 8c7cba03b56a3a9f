// A value whose codec fails where it is told to.
#pragma once

#include "support/scene.hpp"

#include <cstdlib>
#include <stdexcept>
#include <string>

namespace test {

enum class trouble : std::uint8_t {
    none,
    encode_throws,
    encode_crashes,
    encode_kills,  // the process `victim`, half way
    decode_throws,
    decode_crashes,
};

/// Trouble comes between the two halves. An argument is encoded in the caller and decoded in the
/// worker, a result the other way round.
struct fragile {
    trouble what = trouble::none;
    pid_t victim = 0;
    std::string first_half{};
    std::string second_half{};
};

inline fragile large(trouble what, pid_t victim = 0) {
    return {what, victim, std::string(5'000'000, 'a'), std::string(5'000'000, 'b')};
}

inline bool is_whole(const fragile& value) {
    return value.first_half == std::string(5'000'000, 'a') &&
           value.second_half == std::string(5'000'000, 'b');
}

}  // namespace test

template <>
struct bulkhead::codec<test::fragile> {
    static void encode(encoder& out, const test::fragile& value) {
        out.write(value.what);
        out.write(value.first_half);
        if (value.what == test::trouble::encode_throws) throw std::domain_error("encode failed");
        if (value.what == test::trouble::encode_crashes) std::abort();
        if (value.what == test::trouble::encode_kills) {
            ::kill(value.victim, SIGKILL);
            test::await_dead(value.victim);
        }
        out.write(value.second_half);
    }
    static test::fragile decode(decoder& in) {
        test::fragile value;
        value.what = in.read<test::trouble>();
        value.first_half = in.read<std::string>();
        if (value.what == test::trouble::decode_throws) throw std::range_error("decode failed");
        if (value.what == test::trouble::decode_crashes) std::abort();
        value.second_half = in.read<std::string>();
        return value;
    }
};
