// Values from a worker: whatever bytes, they decode or are refused, and what decodes travels unchanged.
#include <bulkhead/codec.hpp>
#include <bulkhead/detail/task_encoder.hpp>

#include <chrono>
#include <cstdlib>
#include <deque>
#include <filesystem>
#include <list>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <tuple>
#include <unordered_map>
#include <variant>
#include <vector>

namespace {

struct point {
    double x;
    double y;
};
struct person {
    std::string name;
    std::vector<point> places;
    std::optional<int> number;
    std::unique_ptr<std::string> owned;
};

std::vector<std::byte> encoded(const auto& value) {
    bulkhead::detail::task_encoder out;
    out.write(value);
    return {out.bytes().begin(), out.bytes().end()};
}

template <class T>
void decode(std::span<const std::byte> bytes) {
    try {
        bulkhead::decoder in(bytes);
        const T value = in.template read<T>();
        const auto first = encoded(value);
        bulkhead::decoder again(first);
        const auto second = encoded(again.template read<T>());
        // The order of an unordered container is its own.
        const bool ordered = !std::is_same_v<T, std::unordered_map<int, std::string>>;
        if (ordered ? second != first : second.size() != first.size()) std::abort();
    } catch (const bulkhead::codec_error&) {  // refused
    }
}

using deciders =
    std::tuple<int, bool, double, std::string, std::vector<bool>, std::vector<int>,
               std::vector<std::string>, std::map<std::string, std::vector<int>>,
               std::unordered_map<int, std::string>, std::set<int>, std::deque<std::list<int>>,
               std::variant<int, std::string, std::vector<int>>, std::optional<std::optional<int>>,
               std::tuple<int, std::string, char>, std::array<std::string, 3>,
               std::unique_ptr<std::string>, std::chrono::nanoseconds, std::filesystem::path,
               person, std::vector<std::variant<person, std::pair<int, std::string>>>>;

template <std::size_t... I>
void decode_as(std::size_t which, std::span<const std::byte> bytes, std::index_sequence<I...>) {
    (void)((which == I && (decode<std::tuple_element_t<I, deciders>>(bytes), true)) || ...);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    if (size == 0) return 0;
    constexpr std::size_t kinds = std::tuple_size_v<deciders>;
    decode_as(data[0] % kinds, {reinterpret_cast<const std::byte*>(data + 1), size - 1},
              std::make_index_sequence<kinds>());
    return 0;
}
