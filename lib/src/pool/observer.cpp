#include "pool/observer.hpp"

namespace bulkhead::detail {
namespace {

pool_event callback_failed(const std::exception_ptr& error, const std::string& task) {
    pool_event event{.what = pool_event::kind::callback_failed, .task_name = task};
    try {
        std::rethrow_exception(error);
    } catch (const std::exception& thrown) {
        event.message = thrown.what();
    } catch (...) {
        event.message = "an exception of a type that is not derived from std::exception";
    }
    return event;
}

}  // namespace

void tell(const observer& one, const pool_event& event) noexcept {
    if (!one) return;
    try {
        one(event);
    } catch (...) {
        // See the header.
    }
}

void tell_callback_failed(const observer& one, const std::exception_ptr& error,
                          const std::string& task) noexcept {
    if (!one) return;
    try {
        one(callback_failed(error, task));
    } catch (...) {
        // As in tell(), or no memory for the event.
    }
}

}  // namespace bulkhead::detail
