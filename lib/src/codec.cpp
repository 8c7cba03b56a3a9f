// The parts of codec.hpp that need no template: refusals, and the checks of lengths and depth.
#include <bulkhead/codec.hpp>

#include <string>

namespace bulkhead {

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
