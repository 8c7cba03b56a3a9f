// What the tests of map() and map_unordered() map, and over what.
#pragma once

#include <csignal>
#include <cstddef>
#include <ranges>
#include <stdexcept>

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

}  // namespace test
