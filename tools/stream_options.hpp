// The command line of bulkhead-writer and bulkhead-reader.
#pragma once

#include "command_line.hpp"
#include "frame.hpp"

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace bulkhead::tools {

struct stream_options {
    std::string queue;
    std::vector<std::string> files;  ///< of the writer
    std::optional<std::uint64_t> count;
    std::optional<std::chrono::milliseconds> timeout;
    std::size_t capacity_bytes = std::size_t{8} << 20;  ///< lines of binary files can be long
    frame how = frame::lines;
    bool keep = false;
    bool follow = false;
    bool boost = false;
    bool progress = false;
};

/// What tells one of the two programs from the other.
struct stream_program {
    const char* name;  ///< "bulkhead-writer"
    const char* version;
    const char* synopsis;  ///< what follows the name and [options]
    const char* summary;   ///< paragraphs for --help
    bool takes_files;
    const char* follow;  ///< what --follow does, for --help
};

/// nullopt after --help or --version, which it prints. Throws usage_mistake.
[[nodiscard]] std::optional<stream_options> parse_command_line(const stream_program& program,
                                                               int argc, char** argv);

/// Of an option that wants a number, or seconds with decimals. Throw usage_mistake.
[[nodiscard]] std::uint64_t parse_count(const std::string& option, const std::string& text);
[[nodiscard]] std::chrono::milliseconds parse_seconds(const std::string& option,
                                                      const std::string& text);

/// "4096", "64K", "1M", "2G": powers of 1024. Throws usage_mistake.
[[nodiscard]] std::size_t parse_size(const std::string& text);

}  // namespace bulkhead::tools
