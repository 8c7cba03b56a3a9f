// What somebody else's programs check with.
#pragma once

#include <cstdlib>
#include <iostream>

inline void check(bool right, int line) {
    if (right) return;
    std::cerr << "line " << line << " does not hold\n";
    std::_Exit(1);
}
#define CHECK(...) check(static_cast<bool>(__VA_ARGS__), __LINE__)

template <class Error, class Call>
Error thrown_by(Call&& call, int line) {
    try {
        (void)call();
    } catch (const Error& error) {
        return error;
    }
    check(false, line);
    std::_Exit(1);
}
#define THROWN(Error, ...) thrown_by<Error>([&] { return __VA_ARGS__; }, __LINE__)
