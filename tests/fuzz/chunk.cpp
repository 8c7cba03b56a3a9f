// The outcomes of a chunk of map() from a worker.
#include <bulkhead/codec.hpp>
#include <bulkhead/detail/map_batches.hpp>
#include <bulkhead/error.hpp>

#include <exception>
#include <string>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    bulkhead::decoder in({reinterpret_cast<const std::byte*>(data), size});
    try {
        while (in.remaining() != 0) {
            try {
                auto item = bulkhead::detail::next_outcome(in, 1);
                (void)item.read<std::string>();
            } catch (const bulkhead::remote_info&) {  // an item that threw: the next may be had
            }
        }
    } catch (const std::exception&) {  // refused
    }
    bulkhead::decoder flat({reinterpret_cast<const std::byte*>(data), size});
    try {
        using outcomes = bulkhead::detail::flat_outcomes<bool>;
        outcomes all;
        all.push(bulkhead::detail::flat_content(flat, 1000, sizeof(bool), 1));
        for (; !all.empty(); all.pop_front()) {
            try {
                (void)all.take_front();
            } catch (const std::exception&) {  // the item's own
            }
        }
    } catch (const std::exception&) {  // refused
    }
    return 0;
}
