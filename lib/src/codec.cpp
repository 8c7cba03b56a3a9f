// The parts of codec.hpp that need no template: refusals, and the checks of lengths and depth.
#include <bulkhead/codec.hpp>

#include <future>
#include <ios>
#include <string>
#include <system_error>

namespace bulkhead {
namespace {

class foreign_category final : public std::error_category {
public:
    [[nodiscard]] const char* name() const noexcept override { return "bulkhead.remote"; }
    [[nodiscard]] std::string message(int value) const override {
        return "error " + std::to_string(value) + " of a category of the task's own";
    }
};

/// The standard library's by name: its address is another in every process.
const std::error_category& category_called(std::string_view name) {
    static const foreign_category foreign;
    for (const std::error_category* known : {&std::generic_category(), &std::system_category(),
                                             &std::iostream_category(), &std::future_category()}) {
        if (name == known->name()) return *known;
    }
    return foreign;
}

template <class Code>
void encode_code(encoder& out, const Code& code) {
    out.write(code.value());
    out.write(std::string(code.category().name()));
}

template <class Code>
Code decode_code(decoder& in) {
    const auto value = in.read<int>();
    return Code(value, category_called(in.read<std::string>()));
}

}  // namespace

void codec<std::error_code>::encode(encoder& out, const std::error_code& value) {
    encode_code(out, value);
}
std::error_code codec<std::error_code>::decode(decoder& in) {
    return decode_code<std::error_code>(in);
}
void codec<std::error_condition>::encode(encoder& out, const std::error_condition& value) {
    encode_code(out, value);
}
std::error_condition codec<std::error_condition>::decode(decoder& in) {
    return decode_code<std::error_condition>(in);
}

encoder::nested::nested(encoder& owner) : owner_(owner) {
    if (owner.depth_ >= nesting_depth_max) {
        throw codec_error("bulkhead: the value nests deeper than " +
                          std::to_string(nesting_depth_max) +
                          " levels and does not encode; flatten it, e.g. into a vector");
    }
    ++owner.depth_;
}

decoder::nested::nested(decoder& owner) : owner_(owner) {
    if (owner.depth_ >= nesting_depth_max) {
        throw codec_error("bulkhead: the bytes nest deeper than " +
                          std::to_string(nesting_depth_max) + " levels and do not decode");
    }
    ++owner.depth_;
}

std::size_t decoder::read_count(std::size_t element_bytes_min) {
    std::uint64_t count = 0;
    read_bytes(&count, sizeof count);
    if (count > remaining() / element_bytes_min) {
        throw codec_error("bulkhead: the bytes do not decode: they announce " +
                          std::to_string(count) + " elements, but only " +
                          std::to_string(remaining()) + " bytes are left");
    }
    return static_cast<std::size_t>(count);
}

void decoder::expect_end() const {
    if (remaining() != 0) {
        throw codec_error("bulkhead: the bytes do not decode: " + std::to_string(remaining()) +
                          " bytes are left over behind the value");
    }
}

void decoder::throw_truncated(std::size_t bytes) const {
    throw codec_error("bulkhead: the bytes do not decode: " + std::to_string(bytes) +
                      " more are needed, " + std::to_string(remaining()) + " are left");
}

namespace detail {

void throw_bad_value(const char* what) {
    throw codec_error(
        std::string("bulkhead: the bytes do not decode, or the value does not encode: ") + what);
}

void throw_empty_element() {
    throw codec_error(
        "bulkhead: a codec<T> specialisation wrote no byte for an element; it must write at least "
        "one");
}

}  // namespace detail
}  // namespace bulkhead
