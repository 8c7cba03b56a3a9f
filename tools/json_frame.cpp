// Messages to JSON and back, with Boost.JSON.
#include "json_frame.hpp"

#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>
#include <boost/json/value.hpp>
#include <boost/locale/utf.hpp>

#include <array>
#include <cstdio>
#include <ctime>
#include <optional>
#include <stdexcept>

namespace bulkhead::tools {
namespace {

namespace json = boost::json;

constexpr std::string_view digits =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
constexpr std::size_t group_bytes = 3;
constexpr std::size_t group_digits = 4;
constexpr unsigned digit_bits = 6;
constexpr unsigned digit_mask = 0x3f;

bool is_utf8(std::string_view text) {
    using traits = boost::locale::utf::utf_traits<char>;
    const char* at = text.data();
    const char* const end = at + text.size();
    while (at != end) {
        const auto code = traits::decode(at, end);
        if (code == boost::locale::utf::illegal || code == boost::locale::utf::incomplete) {
            return false;
        }
    }
    return true;
}

std::string base64_of(std::string_view bytes) {
    std::string text;
    text.reserve((bytes.size() + group_bytes - 1) / group_bytes * group_digits);
    while (!bytes.empty()) {
        const std::string_view group = bytes.substr(0, group_bytes);
        std::uint32_t bits = 0;
        for (std::size_t i = 0; i != group_bytes; ++i) {
            bits = bits << 8 | (i < group.size() ? static_cast<unsigned char>(group[i]) : 0U);
        }
        for (std::size_t i = 0; i != group_digits; ++i) {
            const auto shift = digit_bits * static_cast<unsigned>(group_digits - 1 - i);
            text += i <= group.size() ? digits[bits >> shift & digit_mask] : '=';
        }
        bytes.remove_prefix(group.size());
    }
    return text;
}

/// nullopt when it is no base64.
std::optional<std::string> bytes_of_base64(std::string_view text) {
    if (text.size() % group_digits != 0) return std::nullopt;
    std::string bytes;
    bytes.reserve(text.size() / group_digits * group_bytes);
    while (!text.empty()) {
        std::string_view group = text.substr(0, group_digits);
        text.remove_prefix(group_digits);
        if (text.empty()) {  // only the last is padded
            if (group.ends_with('=')) group.remove_suffix(1);
            if (group.ends_with('=')) group.remove_suffix(1);
        }
        std::uint32_t bits = 0;
        for (std::size_t i = 0; i != group_digits; ++i) {
            const auto digit = i < group.size() ? digits.find(group[i]) : 0;
            if (digit == std::string_view::npos) return std::nullopt;
            bits = bits << digit_bits | static_cast<std::uint32_t>(digit);
        }
        for (std::size_t i = 0; i + 1 < group.size(); ++i) {
            bytes += static_cast<char>(bits >> (8 * (group_bytes - 1 - i)));
        }
    }
    return bytes;
}

/// RFC 3339, in UTC, to the millisecond.
std::string text_of(std::chrono::system_clock::time_point when) {
    const auto since = when.time_since_epoch();
    const auto whole = std::chrono::floor<std::chrono::seconds>(since);
    const auto rest = std::chrono::floor<std::chrono::milliseconds>(since - whole);
    const std::time_t seconds = whole.count();
    std::tm parts{};
    ::gmtime_r(&seconds, &parts);
    std::array<char, 32> text{};
    const auto length = std::strftime(text.data(), text.size(), "%Y-%m-%dT%H:%M:%S", &parts);
    std::array<char, 8> fraction{};
    (void)std::snprintf(fraction.data(), fraction.size(), ".%03dZ", static_cast<int>(rest.count()));
    return std::string(text.data(), length) + fraction.data();
}

}  // namespace

std::string json_line_of(std::span<const std::byte> message, const message_facts& facts) {
    const std::string_view content(reinterpret_cast<const char*>(message.data()), message.size());
    json::object line;
    line["queue"] = facts.queue;
    line["number"] = facts.number;
    line["received"] = text_of(facts.received);
    line["bytes"] = content.size();
    if (is_utf8(content)) {
        line["data"] = content;
    } else {
        line["data_base64"] = base64_of(content);
    }
    return json::serialize(line) + '\n';
}

std::string message_of_json_line(std::string_view line) {
    json::error_code failure;
    const json::value all = json::parse({line.data(), line.size()}, failure);
    if (failure) throw std::invalid_argument(failure.message());
    const json::object* const object = all.if_object();
    if (object == nullptr) throw std::invalid_argument("it is not an object");
    const auto* const data = object->if_contains("data");
    const auto* const encoded = object->if_contains("data_base64");
    if ((data == nullptr) == (encoded == nullptr)) {
        throw std::invalid_argument(R"(it needs a member "data" or "data_base64", and not both)");
    }
    const json::string* const text = (data != nullptr ? data : encoded)->if_string();
    if (text == nullptr) throw std::invalid_argument("its data is not a string");
    if (data != nullptr) return {text->data(), text->size()};
    auto bytes = bytes_of_base64(*text);
    if (!bytes) throw std::invalid_argument("its data_base64 is not base64");
    return *std::move(bytes);
}

}  // namespace bulkhead::tools
