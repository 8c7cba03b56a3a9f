// Names of functions from the symbol tables of this process's modules.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace bulkhead::os {

/// As people write it: demangled, std::string by its short name; the name itself when it is not mangled.
[[nodiscard]] std::string readable_name(const char* mangled);

struct code_place {
    std::string module;        // path of its file
    std::uint64_t offset = 0;  // in the file
};

struct code_name {
    std::string function;  // demangled; empty when not known
    std::string text;      // "function(int)+0x1c", or "file+0x1234"
};

/// For each place; the function is known where the file is one that this process runs, or is `executable`
/// (a path without links), and has a symbol there.
[[nodiscard]] std::vector<code_name> names_of(const std::vector<code_place>& places,
                                              const std::string& executable = {});

/// Whether it is the file of this program itself, not of a library.
[[nodiscard]] bool is_own_executable(std::string_view path);

}  // namespace bulkhead::os
