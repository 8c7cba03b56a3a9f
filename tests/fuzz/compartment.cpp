// The parent's side of a compartment, whose worker writes whatever it likes between any two steps.
#include "channel/compartment.hpp"
#include "os/memfd.hpp"

#include <bulkhead/error.hpp>

#include <cstring>
#include <fuzzer/FuzzedDataProvider.h>
#include <vector>

namespace {

using namespace bulkhead::channel;

class game {
public:
    game() {
        const auto fds = parent_.worker_fds();
        memory_ = bulkhead::os::map_shared(fds[1], compartment_bytes, "the fuzzer's view");
        parent_.launched();
    }

    void play(FuzzedDataProvider& script) {
        while (script.remaining_bytes() != 0) move(script);
    }

private:
    void move(FuzzedDataProvider& script) {
        switch (script.ConsumeIntegralInRange(0, 9)) {
            case 0:
                post(script.ConsumeIntegralInRange<std::size_t>(0, 1 << 16));
                break;
            case 1:
                if (!posted_.empty()) (void)parent_.withdraw(some_ticket(script));
                break;
            case 2:
                collect();
                break;
            case 3:
                (void)parent_.consistent();
                break;
            case 4: {
                const auto ticket = some_ticket(script);
                (void)parent_.at(ticket);
                (void)parent_.phase_of(ticket);
                (void)parent_.has_passed(ticket);
                (void)parent_.partial_items_of(ticket);
                break;
            }
            case 5:
                (void)parent_.crash(1, "");
                break;
            case 6: {  // a state that looks like something
                const auto ticket = some_ticket(script);
                write(offsetof(control_block, slots) + ticket % slots_max * sizeof(slot),
                      make_state(ticket,
                                 static_cast<slot_step>(script.ConsumeIntegralInRange(0, 8))));
                break;
            }
            case 7: {  // a result
                const auto ticket = some_ticket(script);
                result_envelope result{};
                result.bytes = script.ConsumeIntegral<std::uint64_t>();
                result.offset = script.ConsumeIntegral<std::uint64_t>();
                result.where = script.ConsumeIntegral<std::uint8_t>() % 4;
                result.kind = script.ConsumeIntegral<std::uint8_t>() % 5;
                result.descriptors = script.ConsumeIntegral<std::uint8_t>();
                std::memcpy(memory_.data() + offsetof(control_block, slots) +
                                ticket % slots_max * sizeof(slot) + offsetof(slot, result),
                            &result, offsetof(result_envelope, payload));
                break;
            }
            default:
                write(script.ConsumeIntegralInRange<std::size_t>(0, control_bytes - 8) / 8 * 8,
                      script.ConsumeIntegral<std::uint64_t>());
        }
    }

    void post(std::size_t bytes) {
        if (!parent_.has_room()) return;
        const std::vector<std::byte> content(bytes);
        task_envelope envelope{};
        if (!parent_.place_arguments(payload(content), envelope)) return;
        const auto ticket = parent_.post(envelope);
        if (ticket == 0) {
            parent_.release_arguments(envelope);
        } else {
            posted_.push_back(ticket);
        }
    }

    void collect() {
        std::uint64_t ticket = 0;
        result_envelope envelope;
        if (parent_.collect(ticket, envelope) != harvest::result) return;
        try {
            const auto bytes = parent_.result_bytes(ticket, envelope);
            std::size_t sum = 0;  // all of them can be read
            for (const std::byte byte : bytes.bytes()) sum += static_cast<std::size_t>(byte);
            sum_ = sum;
            parent_.release_result(ticket, envelope);
        } catch (const bulkhead::error&) {  // a lie
        }
        parent_.settled(ticket);
    }

    std::uint64_t some_ticket(FuzzedDataProvider& script) {
        if (posted_.empty()) return 1;
        return posted_[script.ConsumeIntegralInRange<std::size_t>(0, posted_.size() - 1)];
    }

    void write(std::size_t at, std::uint64_t word) {
        std::memcpy(memory_.data() + at, &word, sizeof word);
    }

    compartment parent_;
    bulkhead::os::mapping memory_;
    std::vector<std::uint64_t> posted_;
    volatile std::size_t sum_ = 0;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    FuzzedDataProvider script(data, size);
    game().play(script);
    return 0;
}
