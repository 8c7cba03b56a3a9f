// What the tests of map() and map_unordered() map, and over what.
#pragma once

#include <bulkhead/codec.hpp>

#include <csignal>
#include <cstddef>
#include <ranges>
#include <stdexcept>
#include <vector>

namespace test {

/// Over 40 items: chosen by the pool, one by one, and around all of them.
inline constexpr std::size_t chunk_sizes[] = {0, 1, 6, 39, 40, 41};

inline int add(int a, int b) { return a + b; }
inline int not_13(int x) {
    if (x == 13) throw std::invalid_argument("unlucky");
    return x * x;
}
inline int crash_at_13(int x) {
    if (x == 13) ::raise(SIGKILL);
    return x * x;
}

/// 0, 1, ... without end; `taken` is how many have been taken.
inline auto counted_input(int& taken) {
    return std::views::iota(0) | std::views::transform([&taken](int i) {
               taken = i + 1;
               return i;
           });
}

/// 0 to k - 1, then a std::length_error.
inline auto input_that_throws_at(int k) {
    return std::views::iota(0) | std::views::transform([k](int i) {
               if (i == k) throw std::length_error("input");
               return i;
           });
}

/// Of some_refused(): first and last, alone, and side by side.
inline constexpr int refusal_inputs = 40;
inline bool is_refused(int x) { return x == 0 || x == 7 || x == 20 || x == 21 || x == 39; }

struct converts_if_allowed {
    int x = 0;
    operator int() const {  // NOLINT(google-explicit-constructor)
        if (is_refused(x)) throw std::domain_error("refused");
        return x;
    }
};
class encodes_if_allowed {
public:
    explicit encodes_if_allowed(int value) : x(value) {}
    int x;
};

/// 0 to refusal_inputs - 1.
template <class T>
std::vector<T> some_refused() {
    std::vector<T> inputs;
    for (int i = 0; i != refusal_inputs; ++i) inputs.push_back(T{i});
    return inputs;
}

}  // namespace test

template <>
struct bulkhead::codec<test::encodes_if_allowed> {
    static void encode(bulkhead::encoder& out, const test::encodes_if_allowed& value) {
        out.write(std::uint64_t{0});  // half of it is there when it fails
        if (test::is_refused(value.x)) throw std::domain_error("refused");
        out.write(value.x);
    }
    static test::encodes_if_allowed decode(bulkhead::decoder& in) {
        (void)in.read<std::uint64_t>();
        return test::encodes_if_allowed(in.read<int>());
    }
};
