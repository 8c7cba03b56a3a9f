// Splitting a stream into records.
#include "frame.hpp"

#include "json_frame.hpp"

#include <algorithm>
#include <cstring>
#include <string_view>

namespace bulkhead::tools {
namespace {

constexpr std::size_t buffer_bytes_min = std::size_t{256} << 10;
constexpr std::size_t prefix_bytes = 4;

}  // namespace

frame parse_frame(const std::string& text) {
    if (text == "lines") return frame::lines;
    if (text == "nul") return frame::nul;
    if (text == "u32") return frame::u32;
    if (text == "json") return frame::json;
    throw std::invalid_argument("--frame can be lines, nul, u32 or json, not '" + text + "'");
}

record_splitter::record_splitter(frame how, std::size_t message_bytes_max, std::string advice)
    : how_(how),
      message_bytes_max_(message_bytes_max),
      advice_(std::move(advice)),
      buffer_(buffer_bytes_min) {}

std::span<std::byte> record_splitter::room() {
    at_end_ = false;
    if (begin_ != 0 && (begin_ == end_ || buffer_.size() - end_ < buffer_.size() / 2)) {
        std::memmove(buffer_.data(), buffer_.data() + begin_, end_ - begin_);
        scanned_ -= begin_;
        end_ -= begin_;
        begin_ = 0;
    }
    if (end_ == buffer_.size()) {
        // Full of one record: larger, up to what the queue takes and a byte to see that it is more.
        const std::size_t most = record_bytes_max() + prefix_bytes + 1;
        buffer_.resize(std::max(buffer_.size() + 1, std::min(2 * buffer_.size(), most)));
    }
    return std::span(buffer_).subspan(end_);
}

std::span<const std::span<const std::byte>> record_splitter::take(std::size_t count_max) {
    messages_.clear();
    decoded_.clear();
    while (messages_.size() != count_max && take_one()) {
    }
    return messages_;
}

bool record_splitter::take_one() {
    switch (how_) {
        case frame::lines:
            return take_delimited(std::byte{'\n'});
        case frame::nul:
            return take_delimited(std::byte{0});
        case frame::json:
            return take_json();
        case frame::u32:
            break;
    }
    return take_prefixed();
}

std::size_t record_splitter::record_bytes_max() const noexcept {
    return how_ == frame::json ? json_line_bytes_max(message_bytes_max_) : message_bytes_max_;
}

bool record_splitter::take_delimited(std::byte delimiter) {
    if (begin_ == end_) return false;
    const std::byte* from = buffer_.data() + scanned_;
    const void* found = std::memchr(from, std::to_integer<int>(delimiter), end_ - scanned_);
    if (found == nullptr && !at_end_) {
        scanned_ = end_;
        return end_ - begin_ > record_bytes_max() ? refuse("more than ") : false;
    }
    const std::size_t next =
        found == nullptr
            ? end_
            : static_cast<std::size_t>(static_cast<const std::byte*>(found) - buffer_.data()) + 1;
    if (next - begin_ > record_bytes_max()) {
        return refuse(std::to_string(next - begin_) + " bytes, more than ");
    }
    add(begin_, next, next);
    return true;
}

bool record_splitter::take_json() {
    const std::size_t begin = begin_;
    if (!take_delimited(std::byte{'\n'})) return false;
    const auto line = messages_.back();
    messages_.pop_back();
    // As if not taken, until it has proved to be good: what is good before it is given first.
    const auto undo = [&] {
        begin_ = scanned_ = begin;
        --records_;
    };
    try {
        decoded_.push_back(message_of_json_line(
            std::string_view(reinterpret_cast<const char*>(line.data()), line.size())));
    } catch (const std::invalid_argument& why) {
        undo();
        if (!messages_.empty()) return false;
        throw bad_input("record " + std::to_string(records_ + 1) +
                        " is no message in JSON: " + why.what());
    }
    if (decoded_.back().size() > message_bytes_max_) {
        undo();
        return refuse(std::to_string(decoded_.back().size()) + " bytes, more than ");
    }
    messages_.push_back(std::as_bytes(std::span(decoded_.back())));
    return true;
}

bool record_splitter::take_prefixed() {
    const std::size_t there = end_ - begin_;
    std::size_t length = 0;
    if (there >= prefix_bytes) {
        for (std::size_t i = prefix_bytes; i-- != 0;) {
            length = length << 8 | std::to_integer<std::size_t>(buffer_[begin_ + i]);
        }
        if (length > message_bytes_max_) {
            return refuse(std::to_string(length) + " bytes, more than ");
        }
        if (there >= prefix_bytes + length) {
            const std::size_t from = begin_ + prefix_bytes;
            add(from, from + length, from + length);
            return true;
        }
    }
    if (at_end_ && there != 0 && messages_.empty()) {
        throw bad_input("the input ends within record " + std::to_string(records_ + 1) +
                        "; is it --frame u32?");
    }
    return false;
}

void record_splitter::add(std::size_t begin, std::size_t end, std::size_t next) {
    messages_.emplace_back(buffer_.data() + begin, end - begin);
    begin_ = scanned_ = next;
    ++records_;
}

void record_splitter::end_of_file() { at_end_ = true; }

bool record_splitter::refuse(const std::string& size) const {
    if (!messages_.empty()) return false;
    throw bad_input("record " + std::to_string(records_ + 1) + " has " + size + "the " +
                    std::to_string(message_bytes_max_) + " bytes of the queue" + advice_);
}

}  // namespace bulkhead::tools
