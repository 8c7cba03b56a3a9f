// What a program and its worker program both know.
#pragma once

#include <string>
#include <vector>

namespace test {

struct picture {
    int width = 0;
    int height = 0;
    std::vector<unsigned char> pixels{};
};

}  // namespace test
