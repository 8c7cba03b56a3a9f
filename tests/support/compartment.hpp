// What a worker shares with its parent, for tests that write into it by hand.
#pragma once

#include "channel/control.hpp"
#include "support/scene.hpp"

#include <cstddef>
#include <fstream>
#include <string>

namespace test {

/// The compartment of the worker that this runs in, as any code in it can find it.
inline std::byte* own_compartment() {
    std::ifstream maps("/proc/self/maps");
    for (std::string line; std::getline(maps, line);) {
        if (!contains(line, "bulkhead-compartment")) continue;
        return reinterpret_cast<std::byte*>(std::stoull(line, nullptr, 16));
    }
    std::abort();
}

inline bulkhead::channel::control_block& own_control_block() {
    return *reinterpret_cast<bulkhead::channel::control_block*>(own_compartment());
}

}  // namespace test
