// The calls into boost::interprocess::message_queue, with every exception turned into a word.
#include "channel/mailbox.hpp"

#include "os/spin.hpp"

#include <bulkhead/error.hpp>

#include <boost/interprocess/exceptions.hpp>
#include <boost/interprocess/permissions.hpp>
#include <ctime>

namespace bulkhead::channel {
namespace {

namespace ipc = boost::interprocess;

/// A holder needs tens of nanoseconds. It may have been preempted, so give way to it a few times; one
/// that is stopped is not waited for.
constexpr int gate_spins_max = 200;
constexpr int gate_yields_max = 20;

bool enter(gate& gate, side who) noexcept {
    for (int round = 0;; ++round) {
        // Acquire pairs with the release in leave(): what the last holder did is seen.
        if (gate.held.load(std::memory_order_relaxed) == 0 &&
            gate.held.exchange(1, std::memory_order_acquire) == 0) {
            return true;
        }
        if (round < gate_spins_max) {
            os::cpu_relax();
        } else if (round < gate_spins_max + gate_yields_max) {
            os::yield_cpu();
        } else if (who == side::parent) {
            return false;
        } else {
            const timespec moment{0, 50'000};
            ::nanosleep(&moment, nullptr);
        }
    }
}

void leave(gate& gate) noexcept { gate.held.store(0, std::memory_order_release); }

[[noreturn]] void throw_shm(const std::string& doing, const ipc::interprocess_exception& e) {
    throw error("bulkhead: cannot " + doing + " in /dev/shm: " + e.what() +
                "; is /dev/shm mounted, writable and not full?");
}

}  // namespace

mailbox mailbox::create(const std::string& name, std::size_t messages_max,
                        std::size_t message_bytes_max) {
    try {
        return mailbox(std::make_unique<ipc::message_queue>(ipc::create_only, name.c_str(),
                                                            messages_max, message_bytes_max,
                                                            ipc::permissions(0600)));
    } catch (const ipc::interprocess_exception& e) {
        remove(name);
        throw_shm("make a worker's message queue (" +
                      std::to_string(messages_max * message_bytes_max / 1024) + " KiB)",
                  e);
    }
}

mailbox mailbox::open(const std::string& name) {
    try {
        return mailbox(std::make_unique<ipc::message_queue>(ipc::open_only, name.c_str()));
    } catch (const ipc::interprocess_exception& e) {
        throw_shm("open the message queue '" + name + "'", e);
    }
}

void mailbox::remove(const std::string& name) noexcept { ipc::message_queue::remove(name.c_str()); }

mail mailbox::try_send(gate& gate, side who, const void* message, std::size_t bytes) noexcept {
    if (!enter(gate, who)) return mail::busy;
    mail result = mail::poisoned;
    try {
        result = queue_->try_send(message, bytes, 0) ? mail::ok : mail::none;
    } catch (...) {
        // lock_exception: the other side died inside. Anything else: its memory is garbage.
    }
    leave(gate);
    return result;
}

mail mailbox::try_receive(gate& gate, side who, void* buffer, std::size_t capacity,
                          std::size_t& bytes) noexcept {
    if (!enter(gate, who)) return mail::busy;
    mail result = mail::poisoned;
    try {
        ipc::message_queue::size_type received = 0;
        unsigned priority = 0;
        result = queue_->try_receive(buffer, capacity, received, priority) ? mail::ok : mail::none;
        bytes = received;
    } catch (...) {
    }
    leave(gate);
    return result;
}

}  // namespace bulkhead::channel
