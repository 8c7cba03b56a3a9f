// Threads of the library: how one is started, and what it does first.
#pragma once

#include <bulkhead/error.hpp>

#include <system_error>
#include <thread>
#include <utility>

namespace bulkhead::os {

/// A limit of this user's, of the control group's or of memory keeps a thread from starting; the sentence
/// names them.
class thread_failure : public error {
public:
    explicit thread_failure(int error_number);
};

/// Throws thread_failure.
template <class F>
[[nodiscard]] std::thread start_thread(F&& body) {
    try {
        return std::thread(std::forward<F>(body));
    } catch (const std::system_error& cause) {
        throw thread_failure(cause.code().value());
    }
}

/// Signals are for the program's threads.
void block_signals() noexcept;

/// Names this thread, for top and debuggers. At most 15 characters.
void name_thread(const char* name) noexcept;

}  // namespace bulkhead::os
