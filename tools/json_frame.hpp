// A message as a line of JSON: its content, and what is known about it.
//
//     {"queue":"q","number":1,"received":"2026-01-31T12:00:00.123Z","bytes":6,"data":"hello\n"}
//
// Content that is not UTF-8 stands in "data_base64" (RFC 4648, with padding) instead of "data". Whoever
// reads such lines needs one of the two members and ignores all others.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace bulkhead::tools {

struct message_facts {
    std::string_view queue;
    std::uint64_t number;  ///< among those that this reader got, from 1
    std::chrono::system_clock::time_point received;
};

/// With its newline.
[[nodiscard]] std::string json_line_of(std::span<const std::byte> message,
                                       const message_facts& facts);

/// Throws std::invalid_argument that says what is wrong with the line.
[[nodiscard]] std::string message_of_json_line(std::string_view line);

/// The longest line that a message of so many bytes needs: six for a byte ("\u0000") at worst, and room
/// for other members.
[[nodiscard]] constexpr std::size_t json_line_bytes_max(std::size_t message_bytes) noexcept {
    constexpr std::size_t escaped_bytes = 6;
    constexpr std::size_t other_members_bytes = std::size_t{64} << 10;
    return escaped_bytes * message_bytes + other_members_bytes;
}

}  // namespace bulkhead::tools
