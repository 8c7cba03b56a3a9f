// How records follow each other in a stream of bytes, and which bytes of a record are its message.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <span>
#include <stdexcept>
#include <string>
#include <vector>

namespace bulkhead::tools {

enum class frame : std::uint8_t {
    lines,  ///< up to and with '\n', which the last may lack; the message has it
    nul,    ///< the same with a zero byte
    u32,    ///< a little-endian 32-bit length and as many bytes; the message is these
    json,   ///< a line that holds an object, of which json_frame.hpp tells
};

/// Throws std::invalid_argument.
[[nodiscard]] frame parse_frame(const std::string& text);

/// What the input holds does not make records, or one that is too large.
class bad_input : public std::runtime_error {
public:
    using std::runtime_error::runtime_error;
};

/// Cuts a stream into records, in one buffer that holds no more than the largest record, or 256 KiB.
class record_splitter {
public:
    /// Throws bad_input for a record of more than `message_bytes_max`; `advice` ends its sentence.
    record_splitter(frame how, std::size_t message_bytes_max, std::string advice = {});

    /// Where to read to; never empty. Invalidates what take() gave.
    [[nodiscard]] std::span<std::byte> room();
    void filled(std::size_t bytes) { end_ += bytes; }

    /// The messages that are complete, up to `count_max`; empty: more must be read.
    [[nodiscard]] std::span<const std::span<const std::byte>> take(std::size_t count_max);
    /// At the end of a file: what follows the last delimiter becomes a message for the next take().
    void end_of_file();

private:
    bool take_one();
    bool take_delimited(std::byte delimiter);
    bool take_prefixed();
    bool take_json();
    [[nodiscard]] std::size_t record_bytes_max() const noexcept;
    void add(std::size_t begin, std::size_t end, std::size_t next);
    /// False while there are good messages before the bad one: these are given first.
    [[nodiscard]] bool refuse(const std::string& size) const;

    frame how_;
    std::size_t message_bytes_max_;
    std::string advice_;
    std::vector<std::byte> buffer_;
    std::size_t begin_ = 0;    ///< first byte that belongs to no message yet
    std::size_t scanned_ = 0;  ///< no delimiter between begin_ and here
    std::size_t end_ = 0;      ///< behind the last byte read
    std::uint64_t records_ = 0;
    bool at_end_ = false;
    std::vector<std::span<const std::byte>> messages_;
    std::deque<std::string> decoded_;  ///< messages that do not stand in the buffer as they are
};

}  // namespace bulkhead::tools
