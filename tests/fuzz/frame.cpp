// The input of bulkhead-writer, cut anywhere: the records are the same as when it comes in one piece.
#include "../../tools/frame.hpp"

#include <cstdlib>
#include <cstring>
#include <fuzzer/FuzzedDataProvider.h>
#include <string>
#include <vector>

namespace {

using bulkhead::tools::frame;
using bulkhead::tools::record_splitter;

constexpr std::size_t message_bytes_max = 200;

/// The records, and at the end "!" when the input was refused.
std::vector<std::string> records(frame how, std::string_view input, FuzzedDataProvider* cuts) {
    std::vector<std::string> all;
    record_splitter splitter(how, message_bytes_max);
    const auto take = [&] {
        while (true) {
            const auto some = splitter.take(cuts == nullptr ? 100 : 3);
            if (some.empty()) return;
            for (const auto& one : some) {
                all.emplace_back(reinterpret_cast<const char*>(one.data()), one.size());
            }
        }
    };
    try {
        while (!input.empty()) {
            const auto room = splitter.room();
            if (room.empty()) std::abort();
            std::size_t bytes = std::min(room.size(), input.size());
            if (cuts != nullptr) bytes = cuts->ConsumeIntegralInRange<std::size_t>(1, bytes);
            std::memcpy(room.data(), input.data(), bytes);
            splitter.filled(bytes);
            input.remove_prefix(bytes);
            take();
        }
        splitter.end_of_file();
        take();
    } catch (const bulkhead::tools::bad_input&) {
        all.emplace_back("!");
    }
    return all;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    FuzzedDataProvider script(data, size);
    const auto how = static_cast<frame>(script.ConsumeIntegralInRange(0, 3));
    const std::string input = script.ConsumeRandomLengthString(2000);
    if (records(how, input, nullptr) != records(how, input, &script)) std::abort();
    return 0;
}
